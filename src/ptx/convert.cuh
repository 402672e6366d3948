// The GPU's own conversions, and its arithmetic on what they make.
#pragma once

#include <cstdint>

namespace braid::ptx {

// Two e4m3 codes, `low` in the lower byte: nearest, ties to even, saturating, every NaN 0x7f. The
// same codes as codec::float_to_e4m3 for every float (tests/gpu).
__device__ inline std::uint32_t cvt_rn_satfinite_e4m3x2_f32(float high, float low) {
  std::uint16_t codes;
  asm("cvt.rn.satfinite.e4m3x2.f32 %0, %1, %2;" : "=h"(codes) : "f"(high), "f"(low));
  return codes;
}

// Two BF16, `low` in the lower half: nearest, ties to even, every NaN 0x7fff.
__device__ inline std::uint32_t cvt_rn_bf16x2_f32(float high, float low) {
  std::uint32_t pair;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
  return pair;
}

// Two sums of two BF16 each: nearest, ties to even, subnormals kept, every NaN 0x7fff.
__device__ inline std::uint32_t add_rn_bf16x2(std::uint32_t a, std::uint32_t b) {
  std::uint32_t pair;
  asm("add.rn.bf16x2 %0, %1, %2;" : "=r"(pair) : "r"(a), "r"(b));
  return pair;
}

}  // namespace braid::ptx
