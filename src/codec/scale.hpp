// The scale of an FP8 group: 128 channels of BF16 and their largest magnitude, amax.
//
//   encode: code = e4m3(x * inverse)      decode: x is about e4m3(code) * scale
//
// amax counts as at least 1e-4, so that an all-zero group has an ordinary scale. A group that
// holds a NaN or an infinity is poisoned as a whole: its scale is NaN and each of its codes is
// the NaN code, so that an overflow is never sent on as an ordinary number.
#pragma once

#include <cstdint>

#include "base/device.hpp"
#include "braid/format.hpp"
#include "codec/bfloat16.hpp"
#include "codec/e4m3.hpp"
#include "codec/exact.hpp"

namespace braid::codec {

inline constexpr float kAmaxFloor = 1e-4f;

struct GroupScale {
  float scale = 1.0f;    // what a decoded code is multiplied by: the scale that travels
  float inverse = 1.0f;  // what a channel is multiplied by before it becomes a code
};

// amax: the largest bf16_magnitude() in the group; as integers, so that infinity and NaN win.
// A power-of-two scale is the smallest 2^n >= amax / 448, its exponent between -22 and 120, so
// scale and inverse are exact. With 2^120, BF16's top binade, magnitudes from 248 * 2^120 on take
// the code for 256 and decode to infinity; no float32 scale does that. BF16 has no scale: 1 and 1.
BRAID_HD constexpr GroupScale group_scale(DispatchFormat format, std::uint16_t amax) {
  if (format == DispatchFormat::kBf16) return {};
  if (amax >= kBf16Infinity) {
    return {float_from_bits(kQuietNanBits), float_from_bits(kQuietNanBits)};
  }
  const float given = bf16_to_float(amax);
  const float largest = given < kAmaxFloor ? kAmaxFloor : given;
  if (format == DispatchFormat::kFp8) {
    return {div_rn(largest, kE4m3Max), div_rn(kE4m3Max, largest)};
  }
  // 448 is 1.75 * 2^8: amax = m * 2^e needs 2^(e - 8), and one more where m > 1.75.
  const std::uint32_t bits = float_bits(largest);
  const std::uint32_t exponent = (bits >> 23) - 8u + ((bits & 0x7fffffu) > 0x600000u ? 1u : 0u);
  return {float_from_bits(exponent << 23), float_from_bits((254u - exponent) << 23)};
}

// A power-of-two scale as its biased exponent; NaN is 255. Only for what group_scale returns.
BRAID_HD constexpr std::uint8_t scale_to_ue8m0(float scale) {
  return static_cast<std::uint8_t>((float_bits(scale) >> 23) & 0xffu);
}

// Every byte: 0 is 2^-127 (a subnormal float), 255 is NaN.
BRAID_HD constexpr float ue8m0_to_scale(std::uint8_t byte) {
  const std::uint32_t exponent = byte;
  const std::uint32_t bits = exponent == 0u ? 0x00400000u : exponent << 23;
  return float_from_bits(exponent == 255u ? kQuietNanBits : bits);
}

BRAID_HD constexpr std::uint8_t encode_channel(std::uint16_t x, float inverse) {
  return float_to_e4m3(mul_rn(bf16_to_float(x), inverse));
}

// A NaN, from the code or from the scale, is the one quiet NaN.
BRAID_HD constexpr float decode_channel(std::uint8_t code, float scale) {
  const float value = mul_rn(e4m3_to_float(code), scale);
  return (float_bits(value) & 0x7fffffffu) > 0x7f800000u ? float_from_bits(kQuietNanBits) : value;
}

}  // namespace braid::codec
