// All ranks in one launch, small: what compute-sanitizer is run on, under which launches that wait
// for each other may run one at a time. With
//   --tool memcheck   --gtest_filter='Gpu/Together*:Gpu/Phases*/*rounds:DispatchTimeout*'
//   --tool racecheck  --gtest_filter='Racecheck*'
#include "gpu/together.hpp"

#include <gtest/gtest.h>

#include <tuple>

#include "backend/cuda/launch.hpp"
#include "gpu/role_run.hpp"

namespace braid::gpu_test {
namespace {

using cuda::check;

struct TogetherRoles {
  const char* name;
  void (*dispatch)(const DispatchTogether&, cudaStream_t);
  void (*combine)(const CombineTogether&, cudaStream_t);
  int arriving_lanes = 1;
};
constexpr TogetherRoles kGenericTogether{"generic", generic_together::dispatch,
                                         generic_together::combine};
constexpr TogetherRoles kBlockTogether{"block", block_together::dispatch, block_together::combine};
constexpr TogetherRoles kAllLanesTogether{"all_lanes", block_together::dispatch,
                                          block_together::combine, cuda::kWarpLanes};

enum class Small { kFp8ExpertRank, kBf16TokenRank, kRepeatedUe8m0ByColumn };

CaseShape small_shape(int num_ranks, Small which) {
  CaseShape shape;
  shape.num_ranks = num_ranks;
  shape.num_experts = 16;
  shape.max_tokens = shape.num_tokens = 7;
  shape.hidden = 640;
  shape.top_k = 4;
  if (which == Small::kBf16TokenRank) {
    shape.format = DispatchFormat::kBf16;
    shape.at_expert_rank = false;
  } else if (which == Small::kRepeatedUe8m0ByColumn) {
    shape.format = DispatchFormat::kFp8Ue8m0;
    shape.scale_layout = ScaleLayout::kColumnMajor;
    shape.routing = Routing::kRepeated;
    shape.few_tokens = shape.num_tokens;
  }
  return shape;
}

class Together : public testing::TestWithParam<std::tuple<TogetherRoles, int, Small>> {};

TEST_P(Together, LeaveWhatTheCpuMachineLeaves) {
  const auto& [roles, num_ranks, which] = GetParam();
  const CaseShape shape = small_shape(num_ranks, which);
  constexpr std::int64_t kPatienceNs = 60'000'000'000;  // under a sanitizer
  GpuRanks ranks(shape, 4, kPatienceNs);                // of four workers one sends rows home
  for (std::uint32_t epoch = 0; epoch < kEpochs && !HasFatalFailure(); ++epoch) {
    CaseShape now = shape;
    now.seed += epoch;
    const auto inputs = make_inputs(now);
    RoleRun run(now, ranks, inputs);
    run.set_arriving_lanes(roles.arriving_lanes);
    const auto expected = run.reference(now, inputs);
    const DispatchTogether dispatches(run.args);
    const CombineTogether combines(run.combine_args);
    roles.dispatch(dispatches, nullptr);
    roles.combine(combines, nullptr);
    check(cudaDeviceSynchronize(), "cudaDeviceSynchronize");
    expect_dispatched(now, ranks, run, expected);
    if (HasFatalFailure()) return;
    expect_combined(now, ranks, run, expected);
  }
}

std::string name_of_together(const testing::TestParamInfo<Together::ParamType>& test) {
  static constexpr const char* kCases[] = {"fp8_expert_rank", "bf16_token_rank",
                                           "repeated_ue8m0_by_column"};
  const auto& [roles, num_ranks, which] = test.param;
  return std::string(roles.name) + "_ranks" + std::to_string(num_ranks) + "_" +
         kCases[static_cast<int>(which)];
}

INSTANTIATE_TEST_SUITE_P(Gpu, Together,
                         testing::Combine(testing::Values(kGenericTogether, kBlockTogether),
                                          testing::Values(2, 4, 8),
                                          testing::Values(Small::kFp8ExpertRank,
                                                          Small::kBf16TokenRank,
                                                          Small::kRepeatedUe8m0ByColumn)),
                         name_of_together);
INSTANTIATE_TEST_SUITE_P(Racecheck, Together,
                         testing::Combine(testing::Values(kGenericTogether, kAllLanesTogether),
                                          testing::Values(2),
                                          testing::Values(Small::kFp8ExpertRank,
                                                          Small::kBf16TokenRank,
                                                          Small::kRepeatedUe8m0ByColumn)),
                         name_of_together);

}  // namespace
}  // namespace braid::gpu_test
