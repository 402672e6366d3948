#include "codec/e4m3.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <limits>

#include "codec/bfloat16.hpp"

namespace braid::codec {
namespace {

static_assert(e4m3_to_float(0x7e) == 448.0f);
static_assert(float_to_e4m3(-1.0f) == 0xb8);

// The format's own definition, in double.
double decoded(int magnitude_code) {
  const int exponent = magnitude_code >> 3;
  const int mantissa = magnitude_code & 7;
  return exponent == 0 ? std::ldexp(mantissa, -9) : std::ldexp(8 + mantissa, exponent - 10);
}

// The nearest of all finite codes, at a tie the one with the even mantissa; saturates by itself.
std::uint8_t nearest_by_search(float value) {
  const double magnitude = std::fabs(static_cast<double>(value));
  int best = 0;
  for (int code = 1; code <= 0x7e; ++code) {
    const double distance = std::fabs(decoded(code) - magnitude);
    const double best_distance = std::fabs(decoded(best) - magnitude);
    if (distance < best_distance || (distance == best_distance && code % 2 == 0)) best = code;
  }
  if (std::isinf(value)) best = 0x7e;
  return static_cast<std::uint8_t>(best | (std::signbit(value) ? 0x80 : 0));
}

TEST(E4m3, EveryCodeDecodesToItsDefinitionAndBack) {
  for (int i = 0; i < 256; ++i) {
    const auto code = static_cast<std::uint8_t>(i);
    const float value = e4m3_to_float(code);
    if ((code & 0x7f) == kE4m3Nan) {
      EXPECT_EQ(float_bits(value), i < 128 ? 0x7fc00000u : 0xffc00000u);
      EXPECT_EQ(float_to_e4m3(value), kE4m3Nan);
      continue;
    }
    EXPECT_EQ(static_cast<double>(std::fabs(value)), decoded(i & 0x7f)) << i;
    EXPECT_EQ(std::signbit(value), i >= 128) << i;
    EXPECT_EQ(float_to_e4m3(value), code) << i;
  }
}

TEST(E4m3, EveryBf16TimesAScaleGoesToTheNearestCode) {
  for (const float scale : {1.0f, 0.1f, 448.0f / 3.0f, 0x1p-9f, 1e6f}) {
    for (std::uint32_t i = 0; i < 0x10000; ++i) {
      const float value = bf16_to_float(static_cast<std::uint16_t>(i)) * scale;
      if (std::isnan(value)) {
        ASSERT_EQ(float_to_e4m3(value), kE4m3Nan) << i;
      } else {
        ASSERT_EQ(float_to_e4m3(value), nearest_by_search(value)) << i << " times " << scale;
      }
    }
  }
}

TEST(E4m3, TiesAndTheirNeighborsGoTheRightWay) {
  for (int code = 0; code < 0x7e; ++code) {
    const auto middle = static_cast<float>((decoded(code) + decoded(code + 1)) / 2);
    const float below = std::nextafter(middle, 0.0f);
    const float above = std::nextafter(middle, 1000.0f);
    EXPECT_EQ(float_to_e4m3(below), code) << code;
    EXPECT_EQ(float_to_e4m3(middle), code % 2 == 0 ? code : code + 1) << code;
    EXPECT_EQ(float_to_e4m3(above), code + 1) << code;
    EXPECT_EQ(float_to_e4m3(-above), (code + 1) | 0x80) << code;
  }
}

TEST(E4m3, SaturatesAndKeepsSignsButNotThatOfANan) {
  const float infinity = std::numeric_limits<float>::infinity();
  EXPECT_EQ(float_to_e4m3(infinity), 0x7e);
  EXPECT_EQ(float_to_e4m3(-infinity), 0xfe);
  EXPECT_EQ(float_to_e4m3(1e30f), 0x7e);
  EXPECT_EQ(float_to_e4m3(-464.0f), 0xfe);
  EXPECT_EQ(float_to_e4m3(-0.0f), 0x80);
  EXPECT_EQ(float_to_e4m3(-1e-30f), 0x80);
  EXPECT_EQ(float_to_e4m3(float_from_bits(0x00000001u)), 0x00);
  EXPECT_EQ(float_to_e4m3(float_from_bits(0xff800001u)), 0x7f);
}

}  // namespace
}  // namespace braid::codec
