// How operations share a device, and jobs a network card.
#include <gtest/gtest.h>

#include "predict/port.hpp"
#include "unit/predict/cases.hpp"

namespace braid::test {
namespace {

using predict::Fluid;
using predict::Port;
using predict::Work;

TEST(FairShares, GiveToOthersWhatTheModestLeave) {
  EXPECT_EQ(predict::fair_shares({10, 100, 100}, 110), (std::vector<double>{10, 50, 50}));
  EXPECT_EQ(predict::fair_shares({10, 20}, 100), (std::vector<double>{10, 20}));
  EXPECT_EQ(predict::fair_shares({}, 1), std::vector<double>{});
}

TEST(Port, SharesItsRateInEqualParts) {
  Port port(10);
  port.add(0, 1, 100);
  EXPECT_DOUBLE_EQ(port.next().time, 10);
  port.add(5, 2, 100);  // 50 of the first are left: 10 more at half the rate
  EXPECT_DOUBLE_EQ(port.next().time, 15);
  EXPECT_EQ(port.next().job, 1);
  port.finish(15, 1);
  EXPECT_DOUBLE_EQ(port.next().time, 20);
}

TEST(Device, SharesItsMemory) {
  const auto layer = plain_layer();
  const Work work{.memory_bytes = 1e6};  // 1 us by all of it
  Fluid device(layer);
  device.start(0, 0, 50);
  device.start(0, 1, 50);
  device.work(0, 0, work, 1);
  EXPECT_DOUBLE_EQ(device.next().time, 1);
  device.work(0.5, 1, work, 1);
  EXPECT_DOUBLE_EQ(device.next().time, 1.5);
  EXPECT_EQ(device.next().operation, 0);
  device.finish(1.5, 0);
  EXPECT_DOUBLE_EQ(device.next().time, 2);
}

TEST(Device, FewSmsReachLessOfItsMemoryAndLinks) {
  const auto layer = plain_layer();
  const Work memory{.memory_bytes = 1e6}, link{.nvlink_bytes = 1e5};
  Fluid device(layer);
  device.start(0, 0, 25);
  device.work(0, 0, memory, 1);
  EXPECT_DOUBLE_EQ(device.next().time, 2);
  Fluid other(layer);
  other.start(0, 0, 10);
  other.work(0, 0, link, 1);
  EXPECT_DOUBLE_EQ(other.next().time, 5);
}

TEST(Device, WhatHasNoBudgetTakesWhatIsFree) {
  const auto layer = plain_layer();
  const Work work{.sm_us = 80};
  Fluid device(layer);
  device.start(0, 0, 60);  // waits, and holds its SMs all the same
  device.start(0, 1, 0);
  device.work(0, 1, work, 1);
  EXPECT_DOUBLE_EQ(device.next().time, 2);
  device.stop(1, 0);
  EXPECT_DOUBLE_EQ(device.next().time, 1.4);
}

TEST(Gemm, TakesWholeWavesOfWholeTiles) {
  const auto layer = plain_layer();
  const predict::GemmFormat format{1, 200};
  // One SM makes 2e6 operations a microsecond. 100 tiles of 64 x 64 x 1024: 4.19 us a wave.
  const auto gemm = predict::grouped_gemm({64}, 6400, 1024, format);
  const double wave = 2.0 * 64 * 64 * 1024 / 2e6;
  EXPECT_NEAR(predict::arithmetic_us(gemm, layer.device, 100), wave, 1e-9);
  // One row costs as much as 64, one more than 64 as much as 128.
  const auto one = predict::grouped_gemm({1}, 6400, 1024, format);
  const auto more = predict::grouped_gemm({65}, 6400, 1024, format);
  EXPECT_NEAR(predict::arithmetic_us(one, layer.device, 100), wave, 1e-9);
  EXPECT_NEAR(predict::arithmetic_us(more, layer.device, 100), 2 * wave, 1e-9);
  // On 99 SMs one tile is left over: wider tiles are better than a second wave of narrow ones.
  const double fewer = predict::arithmetic_us(gemm, layer.device, 99);
  EXPECT_GT(fewer, wave);
  EXPECT_LT(fewer, 2 * wave);
  EXPECT_EQ(predict::arithmetic_us(predict::grouped_gemm({0, 0}, 64, 64, format), layer.device, 9),
            0);
}

TEST(Gemm, ReadsWeightsOfGroupsThatHaveRowsOnly) {
  const auto gemm = predict::grouped_gemm({3, 0}, 10, 20, {1, 200});
  EXPECT_DOUBLE_EQ(gemm.bytes, 10 * 20 + 3 * (20 + 2 * 10));
}

}  // namespace
}  // namespace braid::test
