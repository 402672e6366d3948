// The conformance suite over ranks that are threads: every case, every routing, on 1, 2 and 4
// nodes, bit for bit against the oracle.
#include <gtest/gtest.h>

#include "conformance/suites.hpp"

namespace braid::conformance {
namespace {

void expect_no_failure(const Failures& failures) {
  for (std::size_t rank = 0; rank < failures.size(); ++rank) {
    EXPECT_EQ(failures[rank], "") << "rank " << rank;
  }
}

class Threads : public ::testing::TestWithParam<Topology> {
 protected:
  static Ranks ranks() { return {GetParam(), {}}; }
};

TEST_P(Threads, EveryCaseIsBitEqualToTheOracle) { expect_no_failure(every_case(ranks())); }

TEST_P(Threads, TwoDispatchesBeforeTheFirstHook) {
  expect_no_failure(two_dispatches_before_the_first_hook(ranks()));
}

TEST_P(Threads, EachRoundGoesHomeBeforeTheNextArrives) {
  expect_no_failure(each_round_goes_home_before_the_next_arrives(ranks()));
}

TEST_P(Threads, AllEmptyRanksForAHundredEpochs) {
  expect_no_failure(all_empty_ranks_for_a_hundred_epochs(ranks()));
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
