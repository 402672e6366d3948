// The dispatch roles as kernels leave, bit for bit, what they leave on the CPU machine.
#include <gtest/gtest.h>

#include <chrono>

#include "backend/cuda/launch.hpp"
#include "gpu/gpu_ranks.hpp"
#include "gpu/slice_kernels.hpp"

namespace braid::gpu_test {
namespace {

using cuda::check;

constexpr std::int64_t kTimeoutNs = 2'000'000'000;
constexpr int kEpochs = 5;  // more than the depths, so that slots are written again

struct DispatchRun {
  std::vector<std::unique_ptr<GpuOperation>> operations;
  std::vector<cuda::DispatchKernelArgs> args;

  DispatchRun(const CaseShape& shape, const GpuRanks& ranks, const std::vector<RankInput>& inputs) {
    for (int rank = 0; rank < shape.num_ranks; ++rank) {
      operations.push_back(
          std::make_unique<GpuOperation>(shape, inputs[static_cast<std::size_t>(rank)]));
      args.push_back(ranks.args(rank));
      operations.back()->bind(args.back().dispatch);
    }
  }
};

void expect_reference(const CaseShape& shape, const GpuRanks& ranks, const DispatchRun& run,
                      const std::vector<RankOutput>& expected) {
  for (int rank = 0; rank < shape.num_ranks; ++rank) {
    const auto at = static_cast<std::size_t>(rank);
    ASSERT_EQ(ranks.timeout(rank).state, 0U) << "rank " << rank;
    ASSERT_EQ(difference(shape, run.operations[at]->output(ranks, rank), expected[at]), "")
        << "rank " << rank;
  }
}

void run_in_two_launches(const CaseShape& shape, int workers) {
  GpuRanks ranks(shape, workers, kTimeoutNs);
  for (std::uint32_t epoch = 0; epoch < kEpochs; ++epoch) {
    CaseShape now = shape;
    now.seed += epoch;
    const auto inputs = make_inputs(now);
    DispatchRun run(now, ranks, inputs);
    for (int round = 0; round < shape.rounds; ++round) {
      for (auto& args : run.args) {
        args.round = round;
        cuda::launch_dispatch_send(args, nullptr);
      }
      for (const auto& args : run.args) cuda::launch_dispatch_receive(args, nullptr);
    }
    check(cudaDeviceSynchronize(), "cudaDeviceSynchronize");
    expect_reference(now, ranks, run, reference(now, inputs));
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
      {"empty", with([](S s) { s.num_tokens = 0; }), 8},
      {"one_token", with([](S s) { s.num_tokens = 1; }), 8},
      {"one_rank", with([](S s) { s.num_ranks = 1; }), 8},
      {"eight_ranks", with([](S s) { s.num_ranks = 8; }), 5},
      {"top_32_of_odd_experts", with([](S s) {
         s.num_experts = 99;
         s.num_ranks = 3;
         s.top_k = 32;
       }),
       8},
  };
}

class Dispatch : public testing::TestWithParam<Named> {};

TEST_P(Dispatch, LeavesWhatTheCpuMachineLeaves) {
  run_in_two_launches(GetParam().shape, GetParam().workers);
}

INSTANTIATE_TEST_SUITE_P(Gpu, Dispatch, testing::ValuesIn(cases()),
                         [](const auto& test) { return std::string(test.param.name); });

TEST(DispatchInOneLaunch, OfTwoRanksOnTwoStreamsLeavesWhatTheCpuMachineLeaves) {
  const CaseShape shape;
  GpuRanks ranks(shape, 64, kTimeoutNs);
  const auto inputs = make_inputs(shape);
  const auto expected = reference(shape, inputs);
  cudaStream_t streams[2];
  for (auto& stream : streams) {
    check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "cudaStreamCreateWithFlags");
  }
  for (int epoch = 0; epoch < kEpochs; ++epoch) {
    const DispatchRun run(shape, ranks, inputs);
    check(cudaDeviceSynchronize(), "cudaDeviceSynchronize");
    for (std::size_t rank = 0; rank < 2; ++rank)
      cuda::launch_dispatch(run.args[rank], streams[rank]);
    check(cudaDeviceSynchronize(), "cudaDeviceSynchronize");
    expect_reference(shape, ranks, run, expected);
  }
  for (auto& stream : streams) cudaStreamDestroy(stream);
}

using LaunchPair = void (*)(const PairArgs&, cudaStream_t);

class Pair : public testing::TestWithParam<LaunchPair> {};

TEST_P(Pair, OfRanksInOneLaunchLeavesWhatTheCpuMachineLeaves) {
  const CaseShape shape;
  GpuRanks ranks(shape, 64, kTimeoutNs);
  const auto inputs = make_inputs(shape);
  const auto expected = reference(shape, inputs);
  for (int epoch = 0; epoch < kEpochs; ++epoch) {
    const DispatchRun run(shape, ranks, inputs);
    GetParam()({{run.args[0], run.args[1]}, nullptr}, nullptr);
    check(cudaDeviceSynchronize(), "cudaDeviceSynchronize");
    expect_reference(shape, ranks, run, expected);
  }
}

INSTANTIATE_TEST_SUITE_P(Gpu, Pair,
                         testing::Values(launch_generic_pair, launch_fixed_pair,
                                         launch_specialized_pair));

TEST(DispatchTimeout, NamesTheRankThatDidNotSendAndReachesThePeers) {
  CaseShape shape;
  shape.num_ranks = 4;
  shape.max_tokens = shape.num_tokens = 8;
  GpuRanks ranks(shape, 4, 20'000'000);
  const auto inputs = make_inputs(shape);
  DispatchRun run(shape, ranks, inputs);
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

TEST(DispatchBadChoice, CountsAsNoneAndIsReportedWithoutAFailure) {
  CaseShape shape;
  shape.max_tokens = shape.num_tokens = 8;
  GpuRanks ranks(shape, 4, kTimeoutNs);
  auto inputs = make_inputs(shape);
  const std::size_t at = 3 * static_cast<std::size_t>(shape.top_k) + 1;  // token 3, choice 1
  inputs[1].topk[at] = -1;
  const auto expected = reference(shape, inputs);
  inputs[1].topk[at] = 999;
  const DispatchRun run(shape, ranks, inputs);
  for (const auto& args : run.args) cuda::launch_dispatch_send(args, nullptr);
  for (const auto& args : run.args) cuda::launch_dispatch_receive(args, nullptr);
  check(cudaDeviceSynchronize(), "cudaDeviceSynchronize");
  expect_reference(shape, ranks, run, expected);
  EXPECT_EQ(ranks.timeout(0).bad_choice.state, 0U);
  const machine::BadChoiceRecord& bad = ranks.timeout(1).bad_choice;
  EXPECT_EQ(bad.state, 2U);
  EXPECT_EQ(bad.token, 3);
  EXPECT_EQ(bad.choice, 1);
  EXPECT_EQ(bad.value, 999);
  EXPECT_EQ(ranks.timeout(1).state, 0U);
}

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
