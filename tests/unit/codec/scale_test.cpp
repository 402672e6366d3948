#include "codec/scale.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <limits>

namespace braid::codec {
namespace {

constexpr DispatchFormat kFp8Formats[] = {DispatchFormat::kFp8, DispatchFormat::kFp8Pow2,
                                          DispatchFormat::kFp8Ue8m0};

double counted_amax(std::uint16_t amax) {
  return std::fmax(static_cast<double>(bf16_to_float(amax)), static_cast<double>(kAmaxFloor));
}

TEST(Scale, Float32ScaleIsTheRoundedQuotient) {
  for (std::uint32_t i = 0; i < kBf16Infinity; ++i) {
    const auto amax = static_cast<std::uint16_t>(i);
    const GroupScale scale = group_scale(DispatchFormat::kFp8, amax);
    ASSERT_EQ(scale.scale, static_cast<float>(counted_amax(amax) / 448.0)) << i;
    ASSERT_EQ(scale.inverse, static_cast<float>(448.0 / counted_amax(amax))) << i;
  }
}

TEST(Scale, PowerOfTwoIsTheSmallestThatReachesAndExact) {
  for (std::uint32_t i = 0; i < kBf16Infinity; ++i) {
    const auto amax = static_cast<std::uint16_t>(i);
    const GroupScale scale = group_scale(DispatchFormat::kFp8Pow2, amax);
    int exponent = 0;
    ASSERT_EQ(std::frexp(scale.scale, &exponent), 0.5f) << i;
    ASSERT_GE(static_cast<double>(scale.scale) * 448.0, counted_amax(amax)) << i;
    ASSERT_LT(static_cast<double>(scale.scale) * 224.0, counted_amax(amax)) << i;
    ASSERT_EQ(scale.scale * scale.inverse, 1.0f) << i;
  }
}

TEST(Scale, Ue8m0IsThatPowerOfTwoInOneByte) {
  for (std::uint32_t i = 0; i < 0x8000; ++i) {
    const auto amax = static_cast<std::uint16_t>(i);
    const GroupScale bytes = group_scale(DispatchFormat::kFp8Ue8m0, amax);
    const GroupScale floats = group_scale(DispatchFormat::kFp8Pow2, amax);
    ASSERT_EQ(float_bits(bytes.scale), float_bits(floats.scale)) << i;
    ASSERT_EQ(float_bits(ue8m0_to_scale(scale_to_ue8m0(bytes.scale))), float_bits(bytes.scale));
  }
}

TEST(Scale, EveryUe8m0ByteIsAPowerOfTwoOrNan) {
  for (int byte = 0; byte < 255; ++byte) {
    EXPECT_EQ(ue8m0_to_scale(static_cast<std::uint8_t>(byte)), std::ldexp(1.0f, byte - 127));
  }
  EXPECT_EQ(float_bits(ue8m0_to_scale(255)), kQuietNanBits);
}

TEST(Scale, ANanOrInfinityPoisonsItsGroup) {
  for (const DispatchFormat format : kFp8Formats) {
    for (const std::uint16_t amax :
         {std::uint16_t{0x7f80}, std::uint16_t{0x7f81}, std::uint16_t{0x7fff}}) {
      const GroupScale scale = group_scale(format, amax);
      EXPECT_EQ(float_bits(scale.scale), kQuietNanBits);
      for (std::uint32_t x = 0; x < 0x10000; ++x) {
        ASSERT_EQ(encode_channel(static_cast<std::uint16_t>(x), scale.inverse), kE4m3Nan) << x;
      }
      EXPECT_EQ(float_bits(decode_channel(kE4m3Nan, scale.scale)), kQuietNanBits);
      EXPECT_EQ(float_bits(decode_channel(0x38, scale.scale)), kQuietNanBits);
    }
    EXPECT_EQ(scale_to_ue8m0(group_scale(DispatchFormat::kFp8Ue8m0, 0x7f80).scale), 255);
  }
  EXPECT_EQ(float_bits(decode_channel(0xff, 1.0f)), kQuietNanBits);
}

// e4m3 has four significant bits: within 1/16 of the value, or half of its smallest step, 2^-10
// times the scale. The products' own roundings add 2^-23.
TEST(Scale, EveryValueOfAGroupComesBackWithinTheFormatsError) {
  for (const DispatchFormat format : kFp8Formats) {
    for (const std::uint16_t amax :
         {std::uint16_t{0}, std::uint16_t{1}, std::uint16_t{0x38d1}, std::uint16_t{0x3f80},
          std::uint16_t{0x3fe0}, std::uint16_t{0x3fe1}, std::uint16_t{0x4321},
          std::uint16_t{0x7f7f}}) {
      const GroupScale scale = group_scale(format, amax);
      for (std::uint32_t i = 0; i <= amax; ++i) {
        const auto x = static_cast<std::uint16_t>(i);
        const double value = bf16_to_float(x);
        const float back = decode_channel(encode_channel(x, scale.inverse), scale.scale);
        if (format != DispatchFormat::kFp8 && value >= 248 * 0x1p120) {
          ASSERT_EQ(back, std::numeric_limits<float>::infinity()) << i;  // rounds to 2^128
          continue;
        }
        const double relative = value * (1.0 / 16 + 0x1p-22);
        const double absolute = static_cast<double>(scale.scale) * (0x1p-10 + 0x1p-30);
        ASSERT_LE(std::fabs(static_cast<double>(back) - value), std::fmax(relative, absolute))
            << to_string(format) << " amax " << amax << " x " << i;
        const float negative = decode_channel(
            encode_channel(static_cast<std::uint16_t>(x | kBf16Sign), scale.inverse), scale.scale);
        ASSERT_EQ(float_bits(negative), float_bits(back) | 0x80000000u);
      }
    }
  }
}

}  // namespace
}  // namespace braid::codec
