// log2 of a BF16 and exp2 of a float, as polynomials in fused multiply-adds: the C library's and
// CUDA's differ in their last bits, and the formats must not.
#pragma once

#include <cstdint>

#include "base/device.hpp"
#include "codec/bfloat16.hpp"
#include "codec/exact.hpp"

namespace braid::codec {

// log2(x) = whole + fraction, fraction in [-0.5, 0.5], absolute error of the fraction below
// 2^-24. Kept apart so that the difference of two logarithms is exact to the last bits, however
// far both are from 1.
struct Log2Parts {
  float whole = 0.0f;  // a whole number
  float fraction = 0.0f;
};

// magnitude: the bits of a finite BF16 above zero, subnormals included. For any other the result
// is some number, and computing it is harmless.
BRAID_HD constexpr Log2Parts log2_of_bf16(std::uint16_t magnitude) {
  // A subnormal is its bits, as a whole number, times 2^-133.
  const bool subnormal = magnitude < 0x0080u;
  const float counted = static_cast<float>(static_cast<std::int32_t>(magnitude));
  const std::uint32_t bits = float_bits(subnormal ? counted : bf16_to_float(magnitude));
  // The mantissa m in [sqrt(1/2), sqrt(2)): near 1 the logarithm then has no cancellation.
  const std::int32_t exponent = static_cast<std::int32_t>(bits - 0x3f3504f3u) >> 23;
  const float mantissa = float_from_bits(bits - (static_cast<std::uint32_t>(exponent) << 23));
  const float t = add_rn(mantissa, -1.0f);
  float p = -0x1.b84fb6p-4f;
  p = fma_rn(p, t, 0x1.7a63a0p-3f);
  p = fma_rn(p, t, -0x1.87f6a2p-3f);
  p = fma_rn(p, t, 0x1.a38c68p-3f);
  p = fma_rn(p, t, -0x1.eab7aap-3f);
  p = fma_rn(p, t, 0x1.277a52p-2f);
  p = fma_rn(p, t, -0x1.715a70p-2f);
  p = fma_rn(p, t, 0x1.ec70aap-2f);
  p = fma_rn(p, t, -0x1.715470p-1f);
  p = fma_rn(p, t, 0x1.715476p+0f);
  const float whole = static_cast<float>(subnormal ? exponent - 133 : exponent);
  return {whole, mul_rn(p, t)};
}

// log2(a) - log2(b).
BRAID_HD constexpr float log2_difference(Log2Parts a, Log2Parts b) {
  return add_rn(add_rn(a.whole, -b.whole), add_rn(a.fraction, -b.fraction));
}

// 2^t for t in [-0.5, 100]; relative error below 2^-23. exp2_of(0) is exactly 1.
BRAID_HD constexpr float exp2_of(float t) {
  const std::int32_t whole = static_cast<std::int32_t>(add_rn(t, 0.5f));
  const float r = add_rn(t, -static_cast<float>(whole));
  float p = 0x1.44138ap-13f;
  p = fma_rn(p, r, 0x1.5f0890p-10f);
  p = fma_rn(p, r, 0x1.3b2a54p-7f);
  p = fma_rn(p, r, 0x1.c6af6cp-5f);
  p = fma_rn(p, r, 0x1.ebfbe0p-3f);
  p = fma_rn(p, r, 0x1.62e430p-1f);
  p = fma_rn(p, r, 1.0f);
  return float_from_bits(float_bits(p) + (static_cast<std::uint32_t>(whole) << 23));
}

}  // namespace braid::codec
