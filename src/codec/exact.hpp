// Float arithmetic that rounds once, to nearest even, and is never fused or split by a compiler:
// what the formats' definitions are written in, so that CPU and GPU give the same bits.
//
// Two things stay with the caller: the default floating-point environment (rounding to nearest,
// subnormals kept: no -ftz=true, no FTZ or DAZ), and -ffp-contract=off on the host. The bits of a
// NaN that arithmetic makes differ between machines; the definitions replace them by fixed ones.
#pragma once

#include <cstdint>

#include "base/device.hpp"

#if defined(__FAST_MATH__)
#error "Braid's formats are defined by exact float arithmetic; -ffast-math breaks them"
#endif

namespace braid::codec {

BRAID_HD constexpr std::uint32_t float_bits(float value) {
  return __builtin_bit_cast(std::uint32_t, value);
}

BRAID_HD constexpr float float_from_bits(std::uint32_t bits) {
  return __builtin_bit_cast(float, bits);
}

inline constexpr std::uint32_t kQuietNanBits = 0x7fc00000u;  // the NaN that definitions return

BRAID_HD constexpr float mul_rn(float a, float b) {
#if defined(__CUDA_ARCH__)
  if (!__builtin_is_constant_evaluated()) return __fmul_rn(a, b);
#endif
  return a * b;
}

BRAID_HD constexpr float add_rn(float a, float b) {
#if defined(__CUDA_ARCH__)
  if (!__builtin_is_constant_evaluated()) return __fadd_rn(a, b);
#endif
  return a + b;
}

BRAID_HD constexpr float div_rn(float a, float b) {
#if defined(__CUDA_ARCH__)
  if (!__builtin_is_constant_evaluated()) return __fdiv_rn(a, b);
#endif
  return a / b;
}

// a * b + c rounded once, from double arithmetic: the product is exact there, and the sum is
// rounded to odd, which keeps the second rounding, to float, from going astray. For constant
// expressions, where not every compiler knows fmaf.
BRAID_HD constexpr float fma_by_parts(float a, float b, float c) {
  const double product = static_cast<double>(a) * static_cast<double>(b);
  const double addend = static_cast<double>(c);
  const double sum = product + addend;
  const double part = sum - product;
  const double error = (product - (sum - part)) + (addend - part);
  std::uint64_t bits = __builtin_bit_cast(std::uint64_t, sum);
  const bool is_finite = (bits << 1) < 0xffe0000000000000u;
  if (is_finite && error != 0.0 && (bits & 1u) == 0u) {
    bits = (error > 0.0) == (sum > 0.0) ? bits + 1u : bits - 1u;
  }
  return static_cast<float>(__builtin_bit_cast(double, bits));
}

// a * b + c. Without FMA instructions the C library's fmaf gives the same bits, slowly.
BRAID_HD constexpr float fma_rn(float a, float b, float c) {
  if (__builtin_is_constant_evaluated()) return fma_by_parts(a, b, c);
#if defined(__CUDA_ARCH__)
  return __fmaf_rn(a, b, c);
#else
  return __builtin_fmaf(a, b, c);
#endif
}

}  // namespace braid::codec
