// The conformance suite over ranks that are processes. Started without RANK it starts itself once
// for each rank; with it, it is one rank and runs every case.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>

#include "conformance/rank_run.hpp"
#include "runtime/launch.hpp"

namespace braid::conformance {
namespace {

int run_rank() {
  try {
    Group group = Group::from_environment();
    RankRun run(group, buffer_options(group.topology()));
    std::uint64_t seed = 1;
    for (const Case& c : cases_of_this_build()) {
      for (const Routing routing : kRoutings) {
        const std::string difference = run.run(c, routing, seed++);
        if (difference.empty()) continue;
        std::fputs(fmt::format("{}/{}: {}\n", c.name(), to_string(routing), difference).c_str(),
                   stdout);
        return 1;
      }
    }
  } catch (const std::exception& error) {
    std::fputs(fmt::format("{}\n", error.what()).c_str(), stdout);
    return 1;
  }
  return 0;
}

class Processes : public ::testing::TestWithParam<Topology> {};

TEST_P(Processes, EveryCaseIsBitEqualToTheOracle) {
  const std::string self = std::filesystem::read_symlink("/proc/self/exe").string();
  LaunchOptions options;
  options.output = LaunchOptions::Output::kCapture;
  const auto results =
      run_processes(GetParam().num_ranks, GetParam().ranks_per_node, {self}, options);
  for (std::size_t rank = 0; rank < results.size(); ++rank) {
    EXPECT_EQ(results[rank].exit_code, 0) << "rank " << rank << ": " << results[rank].output;
  }
}

INSTANTIATE_TEST_SUITE_P(Conformance, Processes,
                         ::testing::Values(Topology{1, 1}, Topology{2, 2}, Topology{2, 1},
                                           Topology{3, 3}, Topology{4, 2}, Topology{8, 4},
                                           Topology{8, 2}),
                         [](const auto& instance) {
                           return "ranks" + std::to_string(instance.param.num_ranks) + "_nodes" +
                                  std::to_string(instance.param.num_nodes());
                         });

}  // namespace
}  // namespace braid::conformance

int main(int argc, char** argv) {
  if (std::getenv("RANK") != nullptr) return braid::conformance::run_rank();
  ::testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
