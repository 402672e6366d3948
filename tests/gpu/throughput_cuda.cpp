// The conformance suite of high throughput on GPUs: ranks of one process, that share a device or
// have one each.
#include <gtest/gtest.h>

#include <tuple>

#include "backend/cuda/device.hpp"
#include "conformance/throughput_suites.hpp"
#include "gpu/cuda_ranks.hpp"
#include "support/ranks.hpp"

namespace braid::conformance {
namespace {

class CudaThroughput : public ::testing::TestWithParam<std::tuple<int, Spread>> {
 protected:
  void SetUp() override {
    if (std::get<1>(GetParam()) == Spread::kAllDevices && cuda::num_devices() < 2) {
      GTEST_SKIP() << "one device is visible";
    }
  }
  static void run(void (*part)(Group&)) {
    const Ranks ranks = cuda_ranks(std::get<0>(GetParam()), std::get<1>(GetParam()));
    expect_no_failure(testing::run_ranks(ranks.topology, ranks.options, part));
  }
};

TEST_P(CudaThroughput, EveryCaseIsBitEqualToTheOracle) { run(run_throughput_cases); }

TEST_P(CudaThroughput, HandlesTakeTurns) { run(run_throughput_handles_in_turn); }

TEST_P(CudaThroughput, GradientsAreThoseOfOneDevice) { run(run_throughput_gradients); }

TEST_P(CudaThroughput, TwentyRepeatsAreBitEqual) { run(run_throughput_repeats); }

TEST_P(CudaThroughput, ChunksMayBeFullOrNot) { run(run_throughput_sizes); }

INSTANTIATE_TEST_SUITE_P(
    Conformance, CudaThroughput,
    ::testing::Combine(::testing::Values(1, 2, 3, 4, 8),
                       ::testing::Values(Spread::kOneDevice, Spread::kAllDevices)),
    [](const auto& instance) {
      return "ranks" + std::to_string(std::get<0>(instance.param)) +
             (std::get<1>(instance.param) == Spread::kOneDevice ? "_one_device" : "_all_devices");
    });

}  // namespace
}  // namespace braid::conformance
