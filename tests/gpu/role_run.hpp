// One operation of all ranks of a test, and what it must leave.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <vector>

#include "gpu/gpu_ranks.hpp"

namespace braid::gpu_test {

inline constexpr int kEpochs = 5;  // more than the depths, so that slots are written again

struct RoleRun {
  std::vector<std::unique_ptr<GpuOperation>> operations;
  std::vector<cuda::DispatchKernelArgs> args;
  std::vector<cuda::CombineKernelArgs> combine_args;
  std::vector<std::vector<std::uint16_t>> rows;

  RoleRun(const CaseShape& shape, const GpuRanks& ranks, const std::vector<RankInput>& inputs) {
    for (int rank = 0; rank < shape.num_ranks; ++rank) {
      operations.push_back(
          std::make_unique<GpuOperation>(shape, inputs[static_cast<std::size_t>(rank)]));
      rows.push_back(expert_rows(shape, rank));
      operations.back()->give_rows(rows.back().data());
      args.push_back(ranks.args(rank));
      operations.back()->bind(args.back().dispatch);
      combine_args.push_back(ranks.combine_args(rank));
      operations.back()->bind(combine_args.back().combine);
    }
  }
  void set_arriving_lanes(int lanes) {
    for (auto& each : args) each.machine.arriving_lanes = lanes;
    for (auto& each : combine_args) each.machine.arriving_lanes = lanes;
  }
  std::vector<RankOutput> reference(const CaseShape& shape,
                                    const std::vector<RankInput>& inputs) const {
    std::vector<const std::uint16_t*> pointers;
    for (const auto& each : rows) pointers.push_back(each.data());
    return gpu_test::reference(shape, inputs, pointers);
  }
};

inline void expect_dispatched(const CaseShape& shape, const GpuRanks& ranks, const RoleRun& run,
                              const std::vector<RankOutput>& expected) {
  for (int rank = 0; rank < shape.num_ranks; ++rank) {
    const auto at = static_cast<std::size_t>(rank);
    ASSERT_EQ(ranks.timeout(rank).state, 0U) << "rank " << rank;
    ASSERT_EQ(difference(shape, run.operations[at]->output(ranks, rank), expected[at]), "")
        << "rank " << rank;
  }
}

inline void expect_combined(const CaseShape& shape, const GpuRanks& ranks, const RoleRun& run,
                            const std::vector<RankOutput>& expected) {
  if (shape.num_tokens == 0) return;
  for (int rank = 0; rank < shape.num_ranks; ++rank) {
    const auto at = static_cast<std::size_t>(rank);
    ASSERT_EQ(ranks.timeout(rank).state, 0U) << "rank " << rank;
    ASSERT_TRUE(run.operations[at]->combined() == expected[at].combined) << "rank " << rank;
  }
}

}  // namespace braid::gpu_test
