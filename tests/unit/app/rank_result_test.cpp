#include "app/rank_result.hpp"

#include <gtest/gtest.h>

#include <string>

#include "app/hash.hpp"

namespace braid::app {
namespace {

RankResult example(double scale) {
  RankResult result;
  result.times = {{1 * scale, 2 * scale, 3 * scale, 4 * scale, 5 * scale, 15 * scale},
                  {10, 10, 10, 10, 10, 50}};
  result.traffic.dispatch.local = {20, 2};
  result.traffic.dispatch.scale_out = {1000000000000ULL, 4};
  result.traffic.combine.scale_up = {60, 6};
  result.num_operations = 2;
  result.tokens_per_expert = {3, 0};
  result.output = std::string("\x80\x3f\x00\xc0", 4);  // 1, -2
  return result;
}

TEST(RankResult, ComesBackWholeFromItsBytes) {
  RankResult sent = example(1.5);
  sent.repeats_equal = false;
  const RankResult got = deserialize(serialize(sent));
  EXPECT_EQ(serialize(got), serialize(sent));
  EXPECT_EQ(got.times.size(), 2U);
  EXPECT_EQ(got.times[0].shared, 7.5);
  EXPECT_EQ(got.traffic.dispatch.scale_out.bytes, 1000000000000U);
  EXPECT_EQ(got.traffic.combine.scale_up.messages, 6U);
  EXPECT_EQ(got.tokens_per_expert, sent.tokens_per_expert);
  EXPECT_FALSE(got.repeats_equal);
  EXPECT_EQ(got.output, sent.output);
}

TEST(RankResult, BringsWhatAGpuMeasured) {
  RankResult sent = example(1);
  EXPECT_FALSE(deserialize(serialize(sent)).gpu.has_value());
  EXPECT_FALSE(deserialize(serialize(sent)).rows_as_sent.has_value());
  sent.rows_as_sent = false;
  sent.gpu.emplace();
  sent.gpu->device = "CUDA device 1";
  sent.gpu->receive_workers = 24;
  double value = 0;
  for (const auto& [name, figure] : kGpuFigures) (*sent.gpu).*figure = {++value, 0.5};
  const RankResult got = deserialize(serialize(sent));
  ASSERT_TRUE(got.gpu.has_value());
  EXPECT_EQ(got.rows_as_sent, false);
  EXPECT_EQ(got.gpu->device, "CUDA device 1");
  EXPECT_EQ(got.gpu->receive_workers, 24);
  for (const auto& [name, figure] : kGpuFigures) {
    EXPECT_EQ((*got.gpu).*figure, (*sent.gpu).*figure) << name;
  }
}

TEST(RankResult, BringsTheTimesOfASchedule) {
  RankResult sent = example(1);
  EXPECT_TRUE(deserialize(serialize(sent)).split_agreed);
  EXPECT_FALSE(deserialize(serialize(sent)).sequential.has_value());
  sent.operation_times = {{1.5, 2}, {3, 4}};
  sent.split_agreed = false;
  sent.sequential = SequentialResult{true, {{1, 2, 3, 4, 5, 15}}, {{7, 8}}};
  const RankResult got = deserialize(serialize(sent));
  EXPECT_EQ(serialize(got), serialize(sent));
  ASSERT_EQ(got.operation_times.size(), 2U);
  EXPECT_EQ(got.operation_times[0].start_us, 1.5);
  EXPECT_FALSE(got.split_agreed);
  ASSERT_TRUE(got.sequential.has_value());
  EXPECT_TRUE(got.sequential->equal);
  EXPECT_EQ(got.sequential->times.at(0).combine, 4);
  EXPECT_EQ(got.sequential->operation_times.at(0).end_us, 8);
}

TEST(RankResult, OfARankWithoutTokensComesBackToo) {
  RankResult sent = example(1);
  sent.output.clear();
  EXPECT_TRUE(deserialize(serialize(sent)).output.empty());
}

TEST(Summary, TakesTheSlowestRankOfEachRepeatAndTheTrafficOfOneOperation) {
  const Summary summary = summarize({example(1), example(4)});
  // Repeat 0: rank 1 has 4 * 2 = 8; repeat 1: both have 10.
  EXPECT_EQ(summary.time.dispatch, 9.0);
  EXPECT_EQ(summary.time.total, 55.0);
  EXPECT_EQ(summary.traffic.dispatch.local.bytes, 20U);  // (20 + 20) / 2 operations
  EXPECT_EQ(summary.traffic.combine.scale_up.messages, 6U);
  EXPECT_EQ(summary.tokens_per_expert, (std::vector<std::int64_t>{3, 0, 3, 0}));
  EXPECT_EQ(summary.output, (std::vector<float>{1, -2, 1, -2}));
  EXPECT_EQ(summary.output_sha256, sha256(std::string("\x80\x3f\x00\xc0\x80\x3f\x00\xc0", 8)));
  EXPECT_TRUE(summary.repeats_equal);
}

TEST(Summary, SaysWhenOneRankSawOtherBits) {
  RankResult other = example(1);
  other.repeats_equal = false;
  EXPECT_FALSE(summarize({example(1), other}).repeats_equal);
}

}  // namespace
}  // namespace braid::app
