// BF16 as its sixteen bits: a float's upper half.
#pragma once

#include <cstdint>

#include "base/device.hpp"
#include "codec/exact.hpp"

namespace braid::codec {

inline constexpr std::uint16_t kBf16Sign = 0x8000;
inline constexpr std::uint16_t kBf16One = 0x3f80;
inline constexpr std::uint16_t kBf16Infinity = 0x7f80;
inline constexpr std::uint16_t kBf16QuietNan = 0x7fc0;

BRAID_HD constexpr float bf16_to_float(std::uint16_t value) {
  return float_from_bits(static_cast<std::uint32_t>(value) << 16);
}

// The bits of |value|. As integers they order like the magnitudes; infinity and NaN come last.
BRAID_HD constexpr std::uint16_t bf16_magnitude(std::uint16_t value) {
  return static_cast<std::uint16_t>(value & 0x7fffu);
}

// Nearest, ties to even; beyond the largest BF16 infinity. A NaN becomes the quiet NaN of its sign.
BRAID_HD constexpr std::uint16_t float_to_bf16(float value) {
  const std::uint32_t bits = float_bits(value);
  const std::uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  const std::uint32_t nan = ((bits >> 16) & kBf16Sign) | kBf16QuietNan;
  return static_cast<std::uint16_t>((bits & 0x7fffffffu) > 0x7f800000u ? nan : rounded);
}

// One step of combine's sum, in float32.
BRAID_HD constexpr float accumulate(float sum, float weight, float value) {
  return fma_rn(weight, value, sum);
}

// The end of combine's sum. Any NaN becomes the one quiet NaN, sign dropped: which NaN a sum
// carries depends on the machine and on operand order.
BRAID_HD constexpr std::uint16_t sum_to_bf16(float sum) {
  const std::uint32_t bits = float_bits(sum);
  const std::uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  const bool is_nan = (bits & 0x7fffffffu) > 0x7f800000u;
  return static_cast<std::uint16_t>(is_nan ? kBf16QuietNan : rounded);
}

}  // namespace braid::codec
