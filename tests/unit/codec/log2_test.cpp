#include "codec/log2.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>

namespace braid::codec {
namespace {

static_assert(exp2_of(0.0f) == 1.0f);

TEST(Log2, FractionIsWithin2ToTheMinus24ForEveryBf16) {
  double worst = 0;
  for (std::uint32_t i = 1; i < kBf16Infinity; ++i) {
    const auto x = static_cast<std::uint16_t>(i);
    const Log2Parts parts = log2_of_bf16(x);
    const double exact = std::log2(static_cast<double>(bf16_to_float(x)));
    ASSERT_EQ(parts.whole, std::floor(parts.whole)) << i;
    ASSERT_LE(std::fabs(parts.fraction), 0.5f) << i;
    const double error =
        std::fabs((exact - static_cast<double>(parts.whole)) - static_cast<double>(parts.fraction));
    worst = std::fmax(worst, error);
  }
  EXPECT_LT(worst, 0x1p-24);
}

TEST(Log2, PowersOfTwoAreExactAndTheOrderIsKept) {
  for (int exponent = -133; exponent <= 127; ++exponent) {
    const auto x = float_to_bf16(std::ldexp(1.0f, exponent));
    EXPECT_EQ(log2_of_bf16(x).whole, static_cast<float>(exponent));
    EXPECT_EQ(log2_of_bf16(x).fraction, 0.0f);
  }
  for (std::uint32_t i = 1; i + 1 < kBf16Infinity; ++i) {
    const Log2Parts low = log2_of_bf16(static_cast<std::uint16_t>(i));
    const Log2Parts high = log2_of_bf16(static_cast<std::uint16_t>(i + 1));
    ASSERT_GT(log2_difference(high, low), 0.0f) << i;
  }
}

TEST(Exp2, IsWithin2ToTheMinus23) {
  double worst = 0;
  for (int i = -50'000; i <= 10'000'000; i += 7) {
    const float t = static_cast<float>(i) * 1e-5f;
    const double exact = std::exp2(static_cast<double>(t));
    worst = std::fmax(worst, std::fabs(static_cast<double>(exp2_of(t)) / exact - 1.0));
  }
  EXPECT_LT(worst, 0x1p-23);
  for (int i = 0; i <= 100; ++i) EXPECT_EQ(exp2_of(static_cast<float>(i)), std::ldexp(1.0f, i));
}

}  // namespace
}  // namespace braid::codec
