// FP8 e4m3: sign, four exponent bits (bias 7), three of mantissa. No infinity; 0x7f and 0xff are
// NaN; the largest value is 448, the smallest 2^-9.
#pragma once

#include <cstdint>

#include "base/device.hpp"
#include "codec/exact.hpp"

namespace braid::codec {

inline constexpr float kE4m3Max = 448.0f;
inline constexpr std::uint8_t kE4m3Nan = 0x7f;

// Nearest, ties to even, saturating: beyond 448, and for infinity, +-448. Every NaN is 0x7f, its
// sign dropped, as the GPU's own saturating conversion does.
BRAID_HD constexpr std::uint8_t float_to_e4m3(float value) {
  const std::uint32_t bits = float_bits(value);
  const std::uint32_t magnitude = bits & 0x7fffffffu;
  const std::uint32_t sign = (bits >> 24) & 0x80u;
  // From 2^-6 on: round the mantissa to three bits in place (a carry moves into the exponent, as
  // it should), then change the exponent's bias from 127 to 7.
  std::uint32_t normal = (magnitude + 0x7ffffu + ((magnitude >> 20) & 1u)) >> 20;
  normal = magnitude >= 0x43e00000u ? 0x7eu : normal - (120u << 3);
  // Below: multiples of 2^-9, which is what a float near 2^14 is counted in.
  const float counted = add_rn(float_from_bits(magnitude), 16384.0f);
  const std::uint32_t subnormal = float_bits(counted) - float_bits(16384.0f);
  const std::uint32_t code = magnitude < 0x3c800000u ? subnormal : normal;
  return static_cast<std::uint8_t>(magnitude > 0x7f800000u ? kE4m3Nan : code | sign);
}

// Exact; a NaN code gives the quiet NaN of its sign.
BRAID_HD constexpr float e4m3_to_float(std::uint8_t code) {
  const std::uint32_t magnitude = code & 0x7fu;
  const std::uint32_t sign = (code & 0x80u) << 24;
  const std::uint32_t normal = (magnitude + (120u << 3)) << 20;
  const float counted = mul_rn(static_cast<float>(static_cast<std::int32_t>(magnitude)), 0x1p-9f);
  std::uint32_t bits = magnitude < 8u ? float_bits(counted) : normal;
  bits = magnitude == kE4m3Nan ? kQuietNanBits : bits;
  return float_from_bits(bits | sign);
}

}  // namespace braid::codec
