// Random schedules of several operations in flight, at several depths, with and without a network
// that reorders: bit for bit against the oracle.
#include <gtest/gtest.h>

#include "conformance/schedule_run.hpp"
#include "support/ranks.hpp"
#include "support/reordering_transport/reordering_transport.hpp"

namespace braid::conformance {
namespace {

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
constexpr int kSteps = 300;
#else
constexpr int kSteps = 4000;
#endif

class Schedules : public ::testing::TestWithParam<std::tuple<Topology, int>> {};

TEST_P(Schedules, AnyAllowedOrderGivesTheOraclesBits) {
  const auto [topology, depth] = GetParam();
  for (const bool reorders : {false, true}) {
    if (reorders && topology.num_nodes() == 1) continue;
    BufferOptions options = buffer_options(topology);
    options.depth = depth;
    GroupOptions group_options;
    group_options.timeout_ms = 20000;
    const auto failures = testing::run_ranks(topology, group_options, [&](Group& plain) {
      Group group =
          reorders ? testing::with_reordering(plain, 5 + static_cast<std::uint64_t>(plain.rank()))
                   : plain;
      ScheduleRun run(group, options, 11 + static_cast<std::uint64_t>(depth));
      const std::string difference = run.run_schedule(kSteps);
      if (!difference.empty()) throw std::runtime_error(difference);
    });
    for (std::size_t rank = 0; rank < failures.size(); ++rank) {
      EXPECT_EQ(failures[rank], "") << "rank " << rank << (reorders ? ", reordered" : "");
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Conformance, Schedules,
                         ::testing::Combine(::testing::Values(Topology{1, 1}, Topology{2, 2},
                                                              Topology{3, 1}, Topology{4, 2},
                                                              Topology{8, 4}),
                                            ::testing::Values(1, 2, 3, 5)));

}  // namespace
}  // namespace braid::conformance
