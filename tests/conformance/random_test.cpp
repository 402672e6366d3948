// A thousand random routings on random shapes, against what one device would give.
#include <gtest/gtest.h>

#include "conformance/rank_run.hpp"
#include "support/ranks.hpp"

namespace braid::conformance {
namespace {

TEST(Random, AThousandRoutingsGiveWhatOneDeviceGives) {
  constexpr Topology kTopologies[] = {{1, 1}, {2, 2}, {3, 3}, {4, 2}, {8, 4}};
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
  constexpr std::uint64_t kRoutingsEach = 40;
#else
  constexpr std::uint64_t kRoutingsEach = 220;
#endif
  const std::vector<Case> cases = all_cases();
  for (const Topology& topology : kTopologies) {
    const auto failures = testing::run_ranks(topology, {}, [&](Group& group) {
      RankRun run(group, buffer_options(topology));
      for (std::uint64_t seed = 0; seed < kRoutingsEach; ++seed) {
        // A stride that is prime to the number of cases visits them all over.
        const Case& c = cases[(seed * 7919) % cases.size()];
        const Routing routing = seed % 3 == 2 ? Routing::kRepeated : Routing::kRandom;
        const std::string difference = run.run(c, routing, 1000 + seed);
        if (!difference.empty()) throw std::runtime_error(c.name() + ": " + difference);
      }
    });
    for (std::size_t rank = 0; rank < failures.size(); ++rank) {
      EXPECT_EQ(failures[rank], "") << topology.num_ranks << " ranks, rank " << rank;
    }
  }
}

TEST(Random, TheComparisonFailsOnWrongResults) {
  const RankInput input = input_of({1, 1}, Routing::kFull, 0, 5);
  const Case c;
  const auto expected = combined_on_one_device(input);
  const auto right = combined(c, {1, 1}, input);
  EXPECT_LE(diff_of(expected, right), 1e-5);
  EXPECT_GT(diff_of(expected, std::vector<std::uint16_t>(right.size(), 0)), 0.5);
  RankInput dropped = input;
  dropped.topk_idx[0] = -1;
  EXPECT_GT(diff_of(expected, combined(c, {1, 1}, dropped)), 1e-5);
  RankInput swapped = input;
  std::swap(swapped.topk_idx[0], swapped.topk_idx[1]);
  EXPECT_GT(diff_of(expected, combined(c, {1, 1}, swapped)), 1e-5);
}

}  // namespace
}  // namespace braid::conformance
