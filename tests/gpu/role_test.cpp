// The roles as kernels, the generic ones and the block ones, leave bit for bit what the roles leave
// on the CPU machine.
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <tuple>

#include "backend/cuda/block_kernels.hpp"
#include "backend/cuda/generic_kernels.hpp"
#include "backend/cuda/launch.hpp"
#include "gpu/role_run.hpp"
#include "gpu/test_kernels.hpp"

namespace braid::gpu_test {
namespace {

using cuda::check;

constexpr std::int64_t kTimeoutNs = 2'000'000'000;

// Whose kernels: of every operation, or of those that the block roles take.
struct Roles {
  const char* name;
  void (*dispatch_send)(const cuda::DispatchKernelArgs&, cudaStream_t);
  void (*dispatch_receive)(const cuda::DispatchKernelArgs&, cudaStream_t);
  void (*combine_send)(const cuda::CombineKernelArgs&, cudaStream_t);
  void (*combine_receive)(const cuda::CombineKernelArgs&, cudaStream_t);
  int arriving_lanes = 1;  // cuda::MachineArgs
};
constexpr Roles kGeneric{"generic", cuda::generic::launch_dispatch_send,
                         cuda::generic::launch_dispatch_receive, cuda::generic::launch_combine_send,
                         cuda::generic::launch_combine_receive};
constexpr Roles kChosen{"chosen", cuda::launch_dispatch_send, cuda::launch_dispatch_receive,
                        cuda::launch_combine_send, cuda::launch_combine_receive};
// As racecheck wants it.
constexpr Roles kAllLanes{"all_lanes",
                          cuda::launch_dispatch_send,
                          cuda::launch_dispatch_receive,
                          cuda::launch_combine_send,
                          cuda::launch_combine_receive,
                          cuda::kWarpLanes};
// A rank's sender need not be its peers' receivers' kind.
constexpr Roles kMixed{"mixed", cuda::generic::launch_dispatch_send, cuda::launch_dispatch_receive,
                       cuda::launch_combine_send, cuda::generic::launch_combine_receive};

// One launch after another: also where nothing runs side by side (a sanitizer).
void run_phases(const CaseShape& shape, int workers, const Roles& roles) {
  GpuRanks ranks(shape, workers, kTimeoutNs);
  for (std::uint32_t epoch = 0; epoch < kEpochs; ++epoch) {
    CaseShape now = shape;
    now.seed += epoch;
    const auto inputs = make_inputs(now);
    RoleRun run(now, ranks, inputs);
    run.set_arriving_lanes(roles.arriving_lanes);
    const auto expected = run.reference(now, inputs);
    for (int round = 0; round < shape.rounds; ++round) {
      for (auto& args : run.args) {
        args.round = round;
        roles.dispatch_send(args, nullptr);
      }
      for (const auto& args : run.args) roles.dispatch_receive(args, nullptr);
    }
    check(cudaDeviceSynchronize(), "cudaDeviceSynchronize");
    expect_dispatched(now, ranks, run, expected);
    if (testing::Test::HasFatalFailure()) return;
    for (int round = 0; round < shape.rounds; ++round) {
      for (auto& args : run.combine_args) {
        args.round = round;
        roles.combine_send(args, nullptr);
      }
    }
    for (const auto& args : run.combine_args) roles.combine_receive(args, nullptr);
    check(cudaDeviceSynchronize(), "cudaDeviceSynchronize");
    expect_combined(now, ranks, run, expected);
    if (testing::Test::HasFatalFailure()) return;
  }
}

struct Named {
  const char* name;
  CaseShape shape;
  int workers;
};

std::vector<Named> cases() {
  const auto with = [](auto&& change) {
    CaseShape shape;
    shape.max_tokens = shape.num_tokens = 24;
    shape.hidden = 512;
    change(shape);
    return shape;
  };
  using S = CaseShape&;
  return {
      {"full_size", CaseShape{}, 64},
      {"one_worker", with([](S) {}), 1},
      {"three_workers", with([](S) {}), 3},
      {"bf16", with([](S s) { s.format = DispatchFormat::kBf16; }), 8},
      {"bf16_no_scale_groups", with([](S s) {
         s.format = DispatchFormat::kBf16;
         s.hidden = 520;
       }),
       8},
      {"fp8_pow2", with([](S s) { s.format = DispatchFormat::kFp8Pow2; }), 8},
      {"fp8_ue8m0", with([](S s) { s.format = DispatchFormat::kFp8Ue8m0; }), 8},
      {"fp8_ue8m0_partial_words", with([](S s) {
         s.format = DispatchFormat::kFp8Ue8m0;
         s.hidden = 640;
       }),
       8},
      {"scales_by_column", with([](S s) { s.scale_layout = ScaleLayout::kColumnMajor; }), 8},
      {"scales_by_column_packed", with([](S s) {
         s.scale_layout = ScaleLayout::kColumnMajor;
         s.format = DispatchFormat::kFp8Ue8m0;
         s.hidden = 640;
         s.routing = Routing::kRepeated;
       }),
       8},
      {"scales_by_column_in_rounds", with([](S s) {
         s.scale_layout = ScaleLayout::kColumnMajor;
         s.format = DispatchFormat::kFp8Ue8m0;
         s.hidden = 640;
         s.rounds = 2;
         s.routing = Routing::kRepeated;
       }),
       8},
      {"odd_groups", with([](S s) { s.hidden = 384; }), 8},
      {"copies_per_expert", with([](S s) { s.per_expert = true; }), 8},
      {"rounds", with([](S s) { s.rounds = 4; }), 8},
      {"rounds_per_expert", with([](S s) {
         s.rounds = 2;
         s.per_expert = true;
       }),
       8},
      {"one_expert", with([](S s) { s.routing = Routing::kOneExpert; }), 8},
      {"masked", with([](S s) { s.routing = Routing::kMasked; }), 8},
      {"repeated", with([](S s) { s.routing = Routing::kRepeated; }), 8},
      {"repeated_per_expert", with([](S s) {
         s.routing = Routing::kRepeated;
         s.per_expert = true;
       }),
       8},
      {"few_tokens", with([](S s) { s.num_tokens = s.few_tokens = 9; }), 8},
      {"few_tokens_eight_ranks", with([](S s) {
         s.num_ranks = 8;
         s.num_tokens = s.few_tokens = 16;
         s.routing = Routing::kRepeated;
       }),
       5},
      {"few_tokens_in_rounds", with([](S s) {
         s.rounds = 4;
         s.num_tokens = s.few_tokens = 9;
       }),
       8},
      {"few_tokens_full_width", with([](S s) {
         s.hidden = 7168;
         s.num_tokens = 8;
         s.few_tokens = 16;
       }),
       2},
      {"more_than_few_tokens", with([](S s) { s.few_tokens = 16; }), 8},
      {"empty", with([](S s) { s.num_tokens = 0; }), 8},
      {"one_token", with([](S s) { s.num_tokens = 1; }), 8},
      {"one_rank", with([](S s) { s.num_ranks = 1; }), 8},
      {"eight_ranks", with([](S s) { s.num_ranks = 8; }), 5},
      {"token_rank", with([](S s) { s.at_expert_rank = false; }), 8},
      {"token_rank_rounds", with([](S s) {
         s.at_expert_rank = false;
         s.rounds = 2;
       }),
       8},
      {"token_rank_repeated", with([](S s) {
         s.at_expert_rank = false;
         s.routing = Routing::kRepeated;
       }),
       8},
      {"token_rank_full_size",
       [] {
         CaseShape shape;
         shape.at_expert_rank = false;
         return shape;
       }(),
       64},
      {"token_rank_eight_ranks", with([](S s) {
         s.at_expert_rank = false;
         s.num_ranks = 8;
       }),
       5},
      {"logfmt", with([](S s) { s.combine_format = CombineFormat::kLogFmt10; }), 8},
      {"logfmt_token_rank", with([](S s) {
         s.combine_format = CombineFormat::kLogFmt10;
         s.at_expert_rank = false;
       }),
       8},
      {"hidden_8192", with([](S s) { s.hidden = 8192; }), 8},
      {"hidden_15360_bf16", with([](S s) {
         s.hidden = 15360;
         s.format = DispatchFormat::kBf16;
       }),
       8},
      {"hidden_16384", with([](S s) { s.hidden = 16384; }), 8},
      {"many_tokens_a_worker", with([](S s) {
         s.max_tokens = s.num_tokens = 100;
         s.at_expert_rank = false;
       }),
       3},
      {"top_12", with([](S s) { s.top_k = 12; }), 8},
      {"top_20", with([](S s) { s.top_k = 20; }), 8},
      {"top_28_token_rank", with([](S s) {
         s.top_k = 28;
         s.at_expert_rank = false;
       }),
       8},
      {"top_3", with([](S s) { s.top_k = 3; }), 8},
      // A token's rows at one rank are as many as a ring of long rows has.
      {"top_32_of_one_rank", with([](S s) {
         s.num_experts = 32;
         s.num_ranks = 1;
         s.top_k = 32;
         s.hidden = 14336;
         s.at_expert_rank = false;
       }),
       2},
      {"top_32_of_odd_experts", with([](S s) {
         s.num_experts = 99;
         s.num_ranks = 3;
         s.top_k = 32;
       }),
       8},
  };
}

Named case_of(const std::string& name) {
  const auto all = cases();
  return *std::find_if(all.begin(), all.end(),
                       [&](const Named& each) { return each.name == name; });
}

class Phases : public testing::TestWithParam<std::tuple<Roles, Named>> {};

TEST_P(Phases, LeaveWhatTheCpuMachineLeaves) {
  const auto& [roles, named] = GetParam();
  run_phases(named.shape, named.workers, roles);
}

INSTANTIATE_TEST_SUITE_P(Gpu, Phases,
                         testing::Combine(testing::Values(kGeneric, kChosen, kMixed),
                                          testing::ValuesIn(cases())),
                         [](const auto& test) {
                           return std::string(std::get<0>(test.param).name) + "_" +
                                  std::get<1>(test.param).name;
                         });

INSTANTIATE_TEST_SUITE_P(Racecheck, Phases,
                         testing::Combine(testing::Values(kGeneric, kAllLanes),
                                          testing::Values(case_of("three_workers"),
                                                          case_of("token_rank"))),
                         [](const auto& test) {
                           return std::string(std::get<0>(test.param).name) + "_" +
                                  std::get<1>(test.param).name;
                         });

class OneLaunch : public testing::TestWithParam<Named> {};

TEST_P(OneLaunch, OfEachRankOnItsStreamLeavesWhatTheCpuMachineLeaves) {
  const CaseShape shape = GetParam().shape;
  if (shape.rounds > 1) GTEST_SKIP() << "one launch is for one round";
  const auto num_ranks = static_cast<std::size_t>(shape.num_ranks);
  GpuRanks ranks(shape, std::min(GetParam().workers, 128 / shape.num_ranks), kTimeoutNs);
  std::vector<cudaStream_t> streams(num_ranks);
  for (auto& stream : streams) {
    check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "cudaStreamCreateWithFlags");
  }
  for (std::uint32_t epoch = 0; epoch < kEpochs && !HasFatalFailure(); ++epoch) {
    CaseShape now = shape;
    now.seed += epoch;
    const auto inputs = make_inputs(now);
    const RoleRun run(now, ranks, inputs);
    const auto expected = run.reference(now, inputs);
    check(cudaDeviceSynchronize(), "cudaDeviceSynchronize");
    for (std::size_t rank = 0; rank < num_ranks; ++rank) {
      cuda::launch_dispatch(run.args[rank], streams[rank]);
    }
    for (std::size_t rank = 0; rank < num_ranks; ++rank) {
      cuda::launch_combine(run.combine_args[rank], streams[rank]);
    }
    check(cudaDeviceSynchronize(), "cudaDeviceSynchronize");
    expect_dispatched(now, ranks, run, expected);
    if (HasFatalFailure()) break;
    expect_combined(now, ranks, run, expected);
  }
  for (auto& stream : streams) cudaStreamDestroy(stream);
}

INSTANTIATE_TEST_SUITE_P(Gpu, OneLaunch, testing::ValuesIn(cases()),
                         [](const auto& test) { return std::string(test.param.name); });

TEST(DispatchTimeout, NamesTheRankThatDidNotSendAndReachesThePeers) {
  CaseShape shape;
  shape.num_ranks = 4;
  shape.max_tokens = shape.num_tokens = 8;
  GpuRanks ranks(shape, 4, 20'000'000);
  const auto inputs = make_inputs(shape);
  RoleRun run(shape, ranks, inputs);
  const auto expect_rank_3_named = [&](int rank) {
    EXPECT_EQ(ranks.timeout(rank).state, 2U);
    EXPECT_EQ(ranks.timeout(rank).tag.peer, 3);
    EXPECT_EQ(ranks.timeout(rank).tag.operation, machine::Operation::kDispatchReceive);
    EXPECT_EQ(ranks.timeout(rank).tag.round, 0);
    EXPECT_EQ(ranks.timeout(rank).expected_epoch, 1U);
  };
  for (std::size_t rank = 0; rank < 3; ++rank) cuda::launch_dispatch_send(run.args[rank], nullptr);
  cuda::launch_dispatch_receive(run.args[0], nullptr);
  check(cudaDeviceSynchronize(), "cudaDeviceSynchronize");
  expect_rank_3_named(0);
  EXPECT_EQ(ranks.timeout(1).state, 0U);
  // Rank 1 has a longer patience; rank 0's report ends its wait.
  run.args[1].machine.timeout_ns = 10'000'000'000;
  const auto begin = std::chrono::steady_clock::now();
  cuda::launch_dispatch_receive(run.args[1], nullptr);
  check(cudaDeviceSynchronize(), "cudaDeviceSynchronize");
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(5));
  expect_rank_3_named(1);
}

class BadChoice : public testing::TestWithParam<Roles> {};

TEST_P(BadChoice, CountsAsNoneAndIsReportedWithoutAFailure) {
  CaseShape shape;
  shape.max_tokens = shape.num_tokens = 8;
  GpuRanks ranks(shape, 4, kTimeoutNs);
  auto inputs = make_inputs(shape);
  const std::size_t at = 3 * static_cast<std::size_t>(shape.top_k) + 1;  // token 3, choice 1
  inputs[1].topk[at] = -1;
  const auto expected = reference(shape, inputs);
  inputs[1].topk[at] = 999;
  const RoleRun run(shape, ranks, inputs);
  for (const auto& args : run.args) GetParam().dispatch_send(args, nullptr);
  for (const auto& args : run.args) GetParam().dispatch_receive(args, nullptr);
  check(cudaDeviceSynchronize(), "cudaDeviceSynchronize");
  expect_dispatched(shape, ranks, run, expected);
  EXPECT_EQ(ranks.timeout(0).bad_choice.state, 0U);
  const machine::BadChoiceRecord& bad = ranks.timeout(1).bad_choice;
  EXPECT_EQ(bad.state, 2U);
  EXPECT_EQ(bad.token, 3);
  EXPECT_EQ(bad.choice, 1);
  EXPECT_EQ(bad.value, 999);
  EXPECT_EQ(ranks.timeout(1).state, 0U);
}

INSTANTIATE_TEST_SUITE_P(Gpu, BadChoice, testing::Values(kGeneric, kChosen),
                         [](const auto& test) { return std::string(test.param.name); });

TEST(Conversion, OfTheGpuIsTheCodecsForEveryFloat) {
  DeviceMemory differences(8);
  launch_conversion_check(reinterpret_cast<std::uint64_t*>(differences.data()), nullptr);
  std::uint64_t found = 0;
  check(cudaDeviceSynchronize(), "cudaDeviceSynchronize");
  differences.download(&found);
  EXPECT_EQ(found, 0U);
}

}  // namespace
}  // namespace braid::gpu_test
