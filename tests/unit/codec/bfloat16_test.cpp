#include "codec/bfloat16.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <limits>
#include <random>

namespace braid::codec {
namespace {

static_assert(bf16_to_float(0x3f80) == 1.0f);
static_assert(float_to_bf16(-2.0f) == 0xc000);

// The nearer of the two BF16 around a finite float, found by distance; at a tie the even one.
std::uint16_t nearest_by_search(float value) {
  const auto down = static_cast<std::uint16_t>(float_bits(value) >> 16);
  const auto up = static_cast<std::uint16_t>(down + 1);
  const double magnitude = std::fabs(static_cast<double>(value));
  const double below = std::fabs(static_cast<double>(bf16_to_float(down)));
  // One step beyond the largest BF16 stands where 2^128 would be.
  const double above = (up & 0x7fff) == kBf16Infinity
                           ? std::ldexp(1.0, 128)
                           : std::fabs(static_cast<double>(bf16_to_float(up)));
  if (magnitude - below != above - magnitude) {
    return magnitude - below < above - magnitude ? down : up;
  }
  return down % 2 == 0 ? down : up;
}

TEST(BFloat16, EveryValueSurvivesTheRoundTrip) {
  for (std::uint32_t i = 0; i < 0x10000; ++i) {
    const auto x = static_cast<std::uint16_t>(i);
    const bool is_nan = bf16_magnitude(x) > kBf16Infinity;
    const auto expected = static_cast<std::uint16_t>(is_nan ? (x & kBf16Sign) | kBf16QuietNan : x);
    ASSERT_EQ(float_to_bf16(bf16_to_float(x)), expected) << i;
  }
}

TEST(BFloat16, RoundsToTheNearestAndTiesToEven) {
  for (std::uint32_t high = 0; high < 0x10000; ++high) {
    if ((high & 0x7fff) >= kBf16Infinity) continue;
    for (const std::uint32_t low : {0u, 1u, 0x7fffu, 0x8000u, 0x8001u, 0xffffu}) {
      const float value = float_from_bits(high << 16 | low);
      ASSERT_EQ(float_to_bf16(value), nearest_by_search(value)) << high << " " << low;
      ASSERT_EQ(sum_to_bf16(value), float_to_bf16(value)) << high << " " << low;
    }
  }
}

TEST(BFloat16, KeepsTheSignOfANanAndASumDropsIt) {
  for (const std::uint32_t bits : {0x7f800001u, 0x7fffffffu, 0x7fc00000u, 0x7f80ffffu}) {
    EXPECT_EQ(float_to_bf16(float_from_bits(bits)), 0x7fc0);
    EXPECT_EQ(float_to_bf16(float_from_bits(bits | 0x80000000u)), 0xffc0);
    EXPECT_EQ(sum_to_bf16(float_from_bits(bits)), 0x7fc0);
    EXPECT_EQ(sum_to_bf16(float_from_bits(bits | 0x80000000u)), 0x7fc0);
  }
  const float infinity = std::numeric_limits<float>::infinity();
  EXPECT_EQ(float_to_bf16(-infinity), 0xff80);
  EXPECT_EQ(sum_to_bf16(-infinity), 0xff80);
}

TEST(BFloat16, AccumulationRoundsOnce) {
  // The product alone needs 46 bits: rounding it before the addition would give zero.
  const float x = 1.0f + 0x1p-22f;
  EXPECT_EQ(accumulate(-float_from_bits(0x3f800004u), x, x), 0x1p-44f);
}

TEST(Exact, FusedMultiplyAddOfConstantExpressionsIsTheRunTimeOne) {
  static_assert(fma_rn(1.0f + 0x1p-22f, 1.0f + 0x1p-22f, -(1.0f + 0x1p-21f)) == 0x1p-44f);
  std::mt19937 generator(3);
  int inexact = 0;
  for (int i = 0; i < 2'000'000; ++i) {
    const float a = float_from_bits(static_cast<std::uint32_t>(generator()));
    const float b = float_from_bits(static_cast<std::uint32_t>(generator()));
    // Half of the time an addend near the product, where cancellation and ties are.
    const float near = -(a * b) * (1.0f + static_cast<float>(i % 7) * 0x1p-20f);
    const float c = i % 2 == 0 ? near : float_from_bits(static_cast<std::uint32_t>(generator()));
    const float fused = std::fma(a, b, c);
    const float by_parts = fma_by_parts(a, b, c);
    if (std::isnan(fused)) {
      ASSERT_TRUE(std::isnan(by_parts));
      continue;
    }
    ASSERT_EQ(float_bits(by_parts), float_bits(fused)) << a << " * " << b << " + " << c;
    if (fused != static_cast<float>(a * b) + c) ++inexact;
  }
  EXPECT_GT(inexact, 1000) << "no case needed the single rounding";
}

}  // namespace
}  // namespace braid::codec
