// The conformance suite on two processes with a GPU each, and what a rank sees of one that ends.
// Started without RANK it starts itself once for each rank.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cstdlib>
#include <stdexcept>
#include <string>

#include "backend/cuda/device.hpp"
#include "conformance/own_processes.hpp"
#include "conformance/suites.hpp"
#include "gpu/device_io.hpp"

namespace braid::conformance {
namespace {

using ::testing::HasSubstr;

constexpr const char* kPart = "BRAID_TEST_PART";
constexpr int kTimeoutMs = 10000;  // contexts and NCCL have to be set up within it

void every_part(Group& group) {
  run_cases(group, pairwise_cases());
  run_two_dispatches_before_the_first_hook(group);
  run_empty_ranks_for_a_hundred_epochs(group);
  run_schedule(group, 2, 300);
  group.barrier();
}

// With the budgets that nobody named: all SMs, by one launch an operation.
void pairs(Group& group) {
  RankMemory memory(group);
  Stream stream = group.make_stream();
  Buffer buffer(group, small_options(group.topology()));
  DeviceIo io(memory, group.topology());
  for (int i = 0; i < 20; ++i) {
    io.set_x(i % 5);
    enqueue_pair(buffer, io, stream);
    stream.synchronize();
    require_home(io, "pair " + std::to_string(i));
  }
  group.barrier();
}

void one_rank_ends(Group& group) {
  RankMemory memory(group);
  Stream stream = group.make_stream();
  Buffer buffer(group, small_options(group.topology()));
  DeviceIo io(memory, group.topology());
  enqueue_pair(buffer, io, stream);
  stream.synchronize();
  require_home(io, "before one ends");
  group.barrier();
  if (group.rank() == 1) std::_Exit(0);  // as a crash would: nothing is put in order
  const auto begin = std::chrono::steady_clock::now();
  try {
    enqueue_pair(buffer, io, stream);
    stream.synchronize();
  } catch (const Error&) {
    const auto taken = std::chrono::steady_clock::now() - begin;
    if (taken > std::chrono::milliseconds(kTimeoutMs + 2000)) {
      throw std::runtime_error("the error came after " +
                               std::to_string(taken / std::chrono::milliseconds(1)) + " ms");
    }
    throw;
  }
}

int run_part() {
  const char* name = std::getenv(kPart);
  const std::string part = name == nullptr ? "" : name;
  GroupOptions options;
  options.backend = Backend::kCuda;
  if (part == "one_device") options.devices = {0};
  return run_rank(options, [&](Group& group) {
    if (part == "pairs" || part == "one_device") return pairs(group);
    if (part == "one_rank_ends") return one_rank_ends(group);
    if (part == "every_part") return every_part(group);
    throw std::runtime_error(std::string(kPart) + " is '" + part + "', which is no part");
  });
}

class CudaProcesses : public ::testing::Test {
 protected:
  void SetUp() override {
    const int devices = cuda::num_devices();
    if (devices < kRanks.num_ranks) {
      GTEST_SKIP() << "two processes need a GPU each, but " << devices << " is visible";
    }
  }
  static std::vector<ProcessResult> start(const std::string& part, int timeout_ms = 30000) {
    return start_ranks(kRanks, {{kPart, part}, {"BRAID_TIMEOUT_MS", std::to_string(timeout_ms)}});
  }
  static void expect_well(const std::vector<ProcessResult>& results) {
    for (std::size_t rank = 0; rank < results.size(); ++rank) {
      EXPECT_TRUE(results[rank].well())
          << "rank " << rank << ": " << results[rank].output << results[rank].error;
    }
  }
  static constexpr Topology kRanks{2, 2};
};

TEST_F(CudaProcesses, CasesAreBitEqualToTheOracle) { expect_well(start("every_part")); }

TEST_F(CudaProcesses, PairsWithDefaultBudgets) { expect_well(start("pairs")); }

TEST_F(CudaProcesses, ARankThatEndsIsNamedInTimeAndTheOtherEndsByItself) {
  const auto results = start("one_rank_ends", kTimeoutMs);
  EXPECT_EQ(results[0].exit_code, 1) << results[0].output << results[0].error;
  EXPECT_FALSE(results[0].killed);
  EXPECT_THAT(results[0].output, HasSubstr("rank 1 ended before it answered rank 0"));
  EXPECT_THAT(results[0].output, HasSubstr("dispatch receive, round 0"));
  EXPECT_EQ(results[1].exit_code, 0) << results[1].output << results[1].error;
}

TEST_F(CudaProcesses, TwoOnOneDeviceAreRefused) {
  for (const ProcessResult& result : start("one_device")) {
    EXPECT_EQ(result.exit_code, 1) << result.error;
    EXPECT_THAT(result.output, HasSubstr("ranks 0 and 1 are processes on the same GPU"));
  }
}

}  // namespace
}  // namespace braid::conformance

int main(int argc, char** argv) {
  if (braid::conformance::is_rank()) return braid::conformance::run_part();
  ::testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
