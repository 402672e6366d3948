// The conformance suite over ranks that are processes. Started without RANK it starts itself once
// for each rank; with it, it is one rank and runs every case.
#include <gtest/gtest.h>

#include "conformance/own_processes.hpp"
#include "conformance/suites.hpp"

namespace braid::conformance {
namespace {

class Processes : public ::testing::TestWithParam<Topology> {};

TEST_P(Processes, EveryCaseIsBitEqualToTheOracle) {
  const auto results = start_ranks(GetParam());
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
  namespace conformance = braid::conformance;
  if (conformance::is_rank()) {
    return conformance::run_rank({}, [](braid::Group& group) {
      conformance::run_cases(group, conformance::cases_of_this_build());
      conformance::run_block_signals(group);
    });
  }
  ::testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
