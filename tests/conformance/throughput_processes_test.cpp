// The conformance suite of high throughput over ranks that are processes. Started without RANK it
// starts itself once for each rank; with it, it is one rank and runs every case.
#include <gtest/gtest.h>

#include "conformance/own_processes.hpp"
#include "conformance/throughput_suites.hpp"

namespace braid::conformance {
namespace {

class ThroughputProcesses : public ::testing::TestWithParam<int> {};

TEST_P(ThroughputProcesses, EveryCaseIsBitEqualToTheOracle) {
  const auto results = start_ranks({GetParam(), GetParam()});
  for (std::size_t rank = 0; rank < results.size(); ++rank) {
    EXPECT_EQ(results[rank].exit_code, 0) << "rank " << rank << ": " << results[rank].output;
  }
}

INSTANTIATE_TEST_SUITE_P(Conformance, ThroughputProcesses, ::testing::Values(1, 2, 3, 8),
                         [](const auto& instance) {
                           return "ranks" + std::to_string(instance.param);
                         });

}  // namespace
}  // namespace braid::conformance

int main(int argc, char** argv) {
  namespace conformance = braid::conformance;
  if (conformance::is_rank()) {
    return conformance::run_rank({}, [](braid::Group& group) {
      conformance::run_throughput_cases(group);
      conformance::run_throughput_expanded(group);
      conformance::run_throughput_gradients(group);
    });
  }
  ::testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
