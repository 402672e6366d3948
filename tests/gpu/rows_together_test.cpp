// High throughput's roles as kernels leave bit for bit what they leave on the CPU machine. All
// ranks in one launch, small: compute-sanitizer is run on it, as on together_test.cpp.
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "backend/cuda/launch.hpp"
#include "gpu/rows_case.hpp"
#include "gpu/rows_together.hpp"

namespace braid::gpu_test {
namespace {

using cuda::check;

constexpr int kWorkers = 3, kPasses = 3;  // of three operations each: depths are written again
constexpr std::int64_t kPatienceNs = 60'000'000'000;  // under a sanitizer

using Blocks = std::vector<std::vector<std::byte>>;

// One operation of all ranks.
template <class Operation>
RanksTogether<cuda::ThroughputKernelArgs<Operation>> together(const GpuMachines& machines,
                                                              const std::vector<RowsArgs>& ranks,
                                                              Operation RowsArgs::*which) {
  std::vector<cuda::ThroughputKernelArgs<Operation>> all;
  for (std::size_t rank = 0; rank < ranks.size(); ++rank) {
    const Operation& operation = ranks[rank].*which;
    all.push_back({operation, machines.machine(static_cast<int>(rank))});
    cuda::share_memory(operation, all.back().machine);
  }
  return RanksTogether<cuda::ThroughputKernelArgs<Operation>>(all);
}

// A pass of all ranks on the GPU; their blocks come back.
void run_on_gpu(const RowsCase& c, const GpuMachines& machines, Blocks& blocks) {
  std::vector<std::unique_ptr<DeviceMemory>> memory;
  std::vector<RowsArgs> args;
  for (std::size_t rank = 0; rank < blocks.size(); ++rank) {
    memory.push_back(
        std::make_unique<DeviceMemory>(static_cast<std::int64_t>(blocks[rank].size())));
    memory.back()->upload(blocks[rank].data());
    args.push_back(
        rows_args(c, memory.back()->data(), machines.local(static_cast<int>(rank)).data()));
  }
  const auto layouts = together(machines, args, &RowsArgs::layout);
  const auto dispatches = together(machines, args, &RowsArgs::dispatch);
  const auto combines = together(machines, args, &RowsArgs::combine);
  rows_together::layout(layouts, nullptr);
  rows_together::dispatch(dispatches, nullptr);
  rows_together::combine(combines, nullptr);
  check(cudaDeviceSynchronize(), "cudaDeviceSynchronize");
  for (std::size_t rank = 0; rank < blocks.size(); ++rank) {
    memory[rank]->download(blocks[rank].data());
  }
}

void expect_region(const char* what, const layout::Region& region,
                   const std::vector<std::byte>& got, const std::vector<std::byte>& expected) {
  for (std::int64_t at = region.offset; at < region.offset + region.bytes; ++at) {
    const auto i = static_cast<std::size_t>(at);
    ASSERT_EQ(got[i], expected[i]) << what << ", byte " << at - region.offset;
  }
}

void expect_same(const RowsCase& c, const std::vector<std::byte>& got,
                 const std::vector<std::byte>& expected) {
  const RowsBlock at = RowsBlock::of(c);
  expect_region("record", at.record, got, expected);
  expect_region("topk_idx", at.out_topk, got, expected);
  expect_region("row_experts", at.out_experts, got, expected);
  expect_region("topk_weights", at.out_weights, got, expected);
  expect_region("x", at.out_x, got, expected);
  expect_region("scales", at.out_scales, got, expected);
  expect_region("combined weights", at.combined_weights, got, expected);
  expect_region("combined x", at.combined, got, expected);
}

class TogetherRows : public testing::TestWithParam<RowsCase> {};

TEST_P(TogetherRows, LeaveWhatTheCpuMachineLeaves) {
  const RowsCase& c = GetParam();
  const GpuMachines machines(block_sizes(c), kWorkers, kPatienceNs);
  RowsReference reference(c);
  for (int pass = 0; pass < kPasses && !HasFatalFailure(); ++pass) {
    Blocks blocks;
    for (int rank = 0; rank < c.num_ranks; ++rank) {
      blocks.push_back(make_rows_block(c, rank, static_cast<std::uint32_t>(pass + 1)));
    }
    Blocks expected = blocks;
    reference.run(expected);
    run_on_gpu(c, machines, blocks);
    for (int rank = 0; rank < c.num_ranks && !HasFatalFailure(); ++rank) {
      SCOPED_TRACE("pass " + std::to_string(pass) + ", rank " + std::to_string(rank));
      const auto at = static_cast<std::size_t>(rank);
      ASSERT_EQ(machines.timeout(rank).state, 0U);
      expect_same(c, blocks[at], expected[at]);
      if (!c.in_region) continue;
      const DeviceMemory& symmetric = machines.symmetric(rank);
      std::vector<std::byte> copy(static_cast<std::size_t>(symmetric.bytes()));
      symmetric.download(copy.data());
      const std::int64_t rows = received_rows(c, expected[at]);
      ASSERT_TRUE(rows_in_region(c, copy.data(), pass, rows) ==
                  rows_in_region(c, reference.symmetric(rank), pass, rows));
    }
  }
}

constexpr RowsCase kBf16{"bf16"};
constexpr RowsCase kQuantized{"fp8", DispatchFormat::kFp8};
constexpr RowsCase kByExpert{"by_expert", DispatchFormat::kBf16, false, false, true};

const char* name_of(const RowsCase& c) { return c.name; }

INSTANTIATE_TEST_SUITE_P(
    Gpu, TogetherRows,
    testing::Values(kBf16, kQuantized, RowsCase{"fp8_given", DispatchFormat::kFp8, true},
                    RowsCase{"bf16_in_place", DispatchFormat::kBf16, false, true},
                    RowsCase{"fp8_given_in_place", DispatchFormat::kFp8, true, true}, kByExpert,
                    RowsCase{"fp8_by_expert", DispatchFormat::kFp8, true, false, true},
                    RowsCase{"bf16_four_ranks", DispatchFormat::kBf16, false, false, false, 4},
                    RowsCase{"by_expert_four_ranks", DispatchFormat::kFp8, false, false, true, 4}),
    [](const auto& test) { return std::string(name_of(test.param)); });
INSTANTIATE_TEST_SUITE_P(Racecheck, TogetherRows, testing::Values(kBf16, kQuantized, kByExpert),
                         [](const auto& test) { return std::string(name_of(test.param)); });

}  // namespace
}  // namespace braid::gpu_test
