// The GPU's own conversions.
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

}  // namespace braid::ptx
