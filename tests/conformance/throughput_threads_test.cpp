// The conformance suite of high throughput over ranks that are threads.
#include <gtest/gtest.h>

#include "conformance/throughput_suites.hpp"
#include "support/ranks.hpp"

namespace braid::conformance {
namespace {

class Throughput : public ::testing::TestWithParam<int> {
 protected:
  static void run(void (*part)(Group&)) {
    const auto failures = testing::run_ranks({GetParam(), GetParam()}, {}, part);
    for (std::size_t rank = 0; rank < failures.size(); ++rank) {
      EXPECT_EQ(failures[rank], "") << "rank " << rank;
    }
  }
};

TEST_P(Throughput, EveryCaseIsBitEqualToTheOracle) { run(run_throughput_cases); }

TEST_P(Throughput, HandlesTakeTurns) { run(run_throughput_handles_in_turn); }

TEST_P(Throughput, TheExpandedFormIsBitEqualToTheOracle) { run(run_throughput_expanded); }

TEST_P(Throughput, GradientsAreThoseOfOneDevice) { run(run_throughput_gradients); }

TEST_P(Throughput, GradientsOfRowsByExpertAreThoseOfOneDevice) {
  run(run_throughput_expanded_gradients);
}

TEST_P(Throughput, TwentyRepeatsAreBitEqual) { run(run_throughput_repeats); }

TEST_P(Throughput, ChunksMayBeFullOrNot) { run(run_throughput_sizes); }

// A sanitizer sees the same roles whatever their number: alone, fewer than a token has choices,
// more.
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
const auto kRankNumbers = ::testing::Values(1, 3, 8);
#else
const auto kRankNumbers = ::testing::Values(1, 2, 3, 4, 8);
#endif

INSTANTIATE_TEST_SUITE_P(Conformance, Throughput, kRankNumbers, [](const auto& instance) {
  return "ranks" + std::to_string(instance.param);
});

}  // namespace
}  // namespace braid::conformance
