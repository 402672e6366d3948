#include "app/options.hpp"

#include <gtest/gtest.h>

#include <functional>
#include <string>

#include "braid/error.hpp"

namespace braid::app {
namespace {

const LayerShape kShape{256, 32, 8};

std::string refusal(const std::function<void(CommunicationOptions&, LayerShape&)>& change) {
  CommunicationOptions options;
  LayerShape shape = kShape;
  change(options, shape);
  try {
    check(options, shape);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
    return error.what();
  }
  return "accepted";
}

TEST(Options, DefaultsFitTheLayer) {
  EXPECT_EQ(refusal([](auto&, auto&) {}), "accepted");
}

TEST(Options, EachRefusalNamesOptionValueAndWhatIsAllowed) {
  EXPECT_EQ(refusal([](auto& options, auto&) { options.ranks = 6; }),
            "--ranks is 6, but must divide the number of experts, 32");
  EXPECT_EQ(refusal([](auto& options, auto&) { options.ranks_per_node = 3; }),
            "--ranks-per-node is 3, but must be from 1 to 8 and divide --ranks 8");
  EXPECT_EQ(refusal([](auto& options, auto&) { options.ranks_per_node = 16; }),
            "--ranks-per-node is 16, but must be from 1 to 8 and divide --ranks 8");
  EXPECT_EQ(refusal([](auto& options, auto&) { options.rounds = 3; }),
            "--rounds is 3, but must divide the 4 experts of a rank (32 experts on 8 ranks)");
  EXPECT_EQ(refusal([](auto& options, auto&) { options.rounds = 8; }),
            "--rounds is 8, but must divide the 4 experts of a rank (32 experts on 8 ranks)");
  EXPECT_EQ(refusal([](auto&, auto& shape) { shape.top_k = 33; }),
            "top-k is 33, but must be from 1 to 32 and at most the number of experts, 32");
  EXPECT_EQ(refusal([](auto& options, auto& shape) {
              options.ranks = 1;
              shape = {256, 4, 5};
            }),
            "top-k is 5, but must be from 1 to 32 and at most the number of experts, 4");
  EXPECT_EQ(refusal([](auto&, auto& shape) { shape.hidden = 200; }),
            "the hidden size is 200, but must be a multiple of 128 for --dispatch fp8");
  EXPECT_EQ(refusal([](auto& options, auto& shape) {
              options.dispatch = DispatchFormat::kBf16;
              options.combine = CombineFormat::kLogFmt10;
              shape.hidden = 200;
            }),
            "the hidden size is 200, but must be a multiple of 128 for --combine logfmt10");
  EXPECT_EQ(refusal([](auto& options, auto& shape) {
              options.dispatch = DispatchFormat::kBf16;
              shape.hidden = 100;
            }),
            "the hidden size is 100, but must be a multiple of 8 for --dispatch bf16");
}

TEST(Options, DevicesAreForCudaAndOneForEachRank) {
  EXPECT_EQ(refusal([](auto& options, auto&) {
              options.devices = {0, 1};
            }),
            "--devices names 2 CUDA devices, but --backend is cpu");
  EXPECT_EQ(refusal([](auto& options, auto&) {
              options.backend = Backend::kCuda;
              options.devices = {0, 1};
            }),
            "--devices names 2 CUDA devices, but must name one for each of the 8 ranks");
  EXPECT_EQ(refusal([](auto& options, auto&) {
              options.backend = Backend::kCuda;
              options.ranks = 2;
              options.devices = {0, 0};
            }),
            "accepted");
}

TEST(Options, RunIsForTheCpu) {
  RunOptions options;
  EXPECT_NO_THROW(check(options));
  options.communication.backend = Backend::kCuda;
  EXPECT_THROW(check(options), Error);
}

TEST(Options, APhasesBudgetIsItsOwnThenThatOfWorkersThenTheBackends) {
  CommunicationOptions options;
  EXPECT_EQ(options.send_budget(), 1);
  options.workers = 3;
  options.receive_workers = 5;
  EXPECT_EQ(options.send_budget(), 3);
  EXPECT_EQ(options.receive_budget(), 5);
  options.receive_workers = 0;
  EXPECT_EQ(options.receive_budget(), 1);
  options.backend = Backend::kCuda;
  EXPECT_EQ(options.receive_budget(), 0);
}

TEST(Options, ModesAndPathsThatAreNotOfferedAreRefusedByName) {
  EXPECT_EQ(parse_mode("low_latency"), Mode::kLowLatency);
  EXPECT_EQ(parse_mode("high_throughput"), Mode::kHighThroughput);
  EXPECT_NO_THROW(check_path("direct"));
  EXPECT_THROW(parse_mode("normal"), Error);
  EXPECT_THROW(check_path("layered"), Error);
  EXPECT_THROW(check_path(""), Error);
}

TEST(Options, HighThroughputRefusesWhatItHasOneChoiceOf) {
  const auto high = [](const std::function<void(CommunicationOptions&)>& change) {
    return refusal([&change](auto& options, auto&) {
      options.mode = Mode::kHighThroughput;
      options.rounds = 1;
      options.dispatch = DispatchFormat::kFp8;
      change(options);
    });
  };
  EXPECT_EQ(high([](auto&) {}), "accepted");
  EXPECT_EQ(high([](auto& options) { options.ranks_per_node = 4; }),
            "--ranks-per-node is 4 of 8 ranks, but --mode high_throughput is for one node");
  EXPECT_EQ(high([](auto& options) { options.reduce_given = Reduce::kTokenRank; }),
            "--reduce is token_rank, but --mode high_throughput offers expert_rank only");
  EXPECT_EQ(high([](auto& options) { options.fan_out = FanOut::kPerExpert; }),
            "--fan-out is per_expert, but --mode high_throughput offers per_rank only");
  EXPECT_EQ(high([](auto& options) { options.dispatch = DispatchFormat::kFp8Pow2; }),
            "--dispatch is fp8_pow2, but --mode high_throughput offers bf16 and fp8 only");
  EXPECT_EQ(high([](auto& options) { options.scales = ScaleLayout::kColumnMajor; }),
            "--scales is column, but --mode high_throughput offers row only");
  EXPECT_EQ(high([](auto& options) { options.combine = CombineFormat::kLogFmt10; }),
            "--combine is logfmt10, but --mode high_throughput offers bf16 only");
  EXPECT_EQ(high([](auto& options) { options.rounds = 2; }),
            "--rounds is 2, but --mode high_throughput has one");
  EXPECT_NE(high([](auto& options) { options.send_workers = 2; }).find("--workers is its budget"),
            std::string::npos);
  EXPECT_EQ(high([](auto& options) { options.backend = Backend::kCuda; }), "accepted");
}

TEST(Options, RowsByExpertOfHighThroughputArePaddedToAnAlignment) {
  const auto high = [](const std::function<void(CommunicationOptions&)>& change) {
    return refusal([&change](auto& options, auto&) {
      options.mode = Mode::kHighThroughput;
      change(options);
    });
  };
  EXPECT_EQ(refusal([](auto& options, auto&) { options.rows_given = RowOrder::kByExpert; }),
            "accepted");
  EXPECT_EQ(refusal([](auto& options, auto&) { options.rows_given = RowOrder::kBySource; }),
            "--rows is source, but --mode low_latency has its rows by expert");
  EXPECT_EQ(refusal([](auto& options, auto&) { options.alignment_given = 16; }),
            "--alignment is 16, but is for --mode high_throughput --rows expert");
  EXPECT_EQ(high([](auto& options) { options.alignment_given = 16; }),
            "--alignment is 16, but is for --mode high_throughput --rows expert");
  EXPECT_EQ(high([](auto& options) {
              options.rows_given = RowOrder::kByExpert;
              options.alignment_given = 16;
            }),
            "accepted");
  EXPECT_EQ(parse_rows("source"), RowOrder::kBySource);
  EXPECT_EQ(parse_rows("expert"), RowOrder::kByExpert);
  EXPECT_THROW(parse_rows("rank"), Error);

  CommunicationOptions options;
  EXPECT_EQ(options.alignment(), 1);
  options.mode = Mode::kHighThroughput;
  EXPECT_EQ(options.rows(), RowOrder::kBySource);
  EXPECT_FALSE(throughput_options(options, kShape, 16).expanded);
  options.rows_given = RowOrder::kByExpert;
  EXPECT_EQ(options.alignment(), 128);
  EXPECT_TRUE(throughput_options(options, kShape, 16).expanded);
  // 8 ranks' 16 tokens, in each of a rank's 4 experts, and padding.
  EXPECT_EQ(expanded_capacity(options, kShape, 16), 8 * 16 * 4 + 4 * 127);
  EXPECT_NO_THROW(check_alignment(options, kShape, 16));
  options.alignment_given = 1 << 30;
  EXPECT_THROW(check_alignment(options, kShape, 16), Error);
}

TEST(Options, ReduceIsTheModesWhereItIsNotGiven) {
  CommunicationOptions options;
  EXPECT_EQ(options.reduce(), Reduce::kTokenRank);
  options.mode = Mode::kHighThroughput;
  EXPECT_EQ(options.reduce(), Reduce::kExpertRank);
}

TEST(Options, AutoFanOutIsPerRankAndTheBufferIsSizedForIt) {
  CommunicationOptions options;
  EXPECT_EQ(options.resolved_fan_out(), FanOut::kPerRank);
  EXPECT_FALSE(buffer_options(options, kShape, 16).allow_per_expert);
  options.fan_out = FanOut::kPerExpert;
  EXPECT_EQ(options.resolved_fan_out(), FanOut::kPerExpert);
  EXPECT_TRUE(buffer_options(options, kShape, 16).allow_per_expert);
}

}  // namespace
}  // namespace braid::app
