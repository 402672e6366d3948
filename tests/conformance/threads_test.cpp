// The conformance suite over ranks that are threads: every case, every routing, on 1, 2 and 4
// nodes, bit for bit against the oracle.
#include <gtest/gtest.h>

#include "conformance/rank_run.hpp"
#include "support/ranks.hpp"

namespace braid::conformance {
namespace {

void expect_no_failure(const std::vector<std::string>& failures) {
  for (std::size_t rank = 0; rank < failures.size(); ++rank) {
    EXPECT_EQ(failures[rank], "") << "rank " << rank;
  }
}

void require_same(const std::string& difference, const std::string& what) {
  if (!difference.empty()) throw std::runtime_error(what + ": " + difference);
}

class Threads : public ::testing::TestWithParam<Topology> {};

TEST_P(Threads, EveryCaseIsBitEqualToTheOracle) {
  const Topology topology = GetParam();
  const std::vector<Case> cases = cases_of_this_build();
  expect_no_failure(testing::run_ranks(topology, {}, [&](Group& group) {
    RankRun run(group, buffer_options(topology));
    std::uint64_t seed = 1;
    for (const Case& c : cases) {
      for (const Routing routing : kRoutings) {
        require_same(run.run(c, routing, seed), c.name() + "/" + to_string(routing));
        ++seed;
      }
    }
  }));
}

TEST_P(Threads, TwoDispatchesBeforeTheFirstHook) {
  const Topology topology = GetParam();
  const std::vector<Case> cases = pairwise_cases();
  expect_no_failure(testing::run_ranks(topology, {}, [&](Group& group) {
    RankRun run(group, buffer_options(topology));
    std::uint64_t seed = 1;
    for (const Case& c : cases) {
      require_same(run.run_two_in_flight(c, seed += 2), c.name());
    }
  }));
}

TEST_P(Threads, EachRoundGoesHomeBeforeTheNextArrives) {
  const Topology topology = GetParam();
  expect_no_failure(testing::run_ranks(topology, {}, [&](Group& group) {
    RankRun run(group, buffer_options(topology));
    std::uint64_t seed = 1;
    for (const Case& c : all_cases()) {
      if (c.reduce != Reduce::kTokenRank || c.dispatch_rounds != c.combine_rounds) continue;
      if (c.dispatch != DispatchFormat::kBf16 || c.dispatch_rounds == 1) continue;
      for (const Routing routing : {Routing::kRandom, Routing::kRepeated}) {
        require_same(run.run_round_by_round(c, routing, seed++), c.name());
      }
    }
  }));
}

TEST_P(Threads, AllEmptyRanksForAHundredEpochs) {
  const Topology topology = GetParam();
  expect_no_failure(testing::run_ranks(topology, {}, [&](Group& group) {
    RankRun run(group, buffer_options(topology));
    Case c;
    c.dispatch_rounds = 2;
    c.combine_rounds = 2;
    // Two operations each, and a round of real work at the end: the depths must still be in step.
    for (std::uint64_t epoch = 0; epoch < 50; ++epoch) {
      require_same(run.run(c, Routing::kMasked, epoch), "masked");
    }
    require_same(run.run(c, Routing::kFull, 50), "full");
  }));
}

INSTANTIATE_TEST_SUITE_P(Conformance, Threads,
                         ::testing::Values(Topology{1, 1}, Topology{2, 2}, Topology{2, 1},
                                           Topology{3, 3}, Topology{4, 4}, Topology{4, 2},
                                           Topology{4, 1}, Topology{8, 8}, Topology{8, 4},
                                           Topology{8, 2}),
                         [](const auto& instance) {
                           return "ranks" + std::to_string(instance.param.num_ranks) + "_nodes" +
                                  std::to_string(instance.param.num_nodes());
                         });

}  // namespace
}  // namespace braid::conformance
