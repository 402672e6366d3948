// Whole-number maths that layout, protocol and kernels share.
#pragma once

#include <cstdint>

#include "base/device.hpp"

namespace braid {

template <class T>
BRAID_HD constexpr T ceil_div(T value, T divisor) {
  return (value + divisor - 1) / divisor;
}

// alignment: any positive number, not only powers of two.
template <class T>
BRAID_HD constexpr T round_up(T value, T alignment) {
  return ceil_div(value, alignment) * alignment;
}

template <class T>
BRAID_HD constexpr T min_of(T a, T b) {
  return b < a ? b : a;
}

template <class T>
BRAID_HD constexpr T max_of(T a, T b) {
  return a < b ? b : a;
}

// How many bits are set.
BRAID_HD constexpr int count_bits(std::uint32_t bits) {
#if defined(__CUDA_ARCH__)
  if (!__builtin_is_constant_evaluated()) return __popc(bits);
#endif
  return __builtin_popcount(bits);
}

// Of numbers that aren't negative. A GPU divides 64 bits in a long subroutine.
BRAID_HD constexpr std::int64_t quotient(std::int64_t value, std::int64_t divisor) {
  if ((value | divisor) >> 32 != 0) return value / divisor;
  return static_cast<std::uint32_t>(value) / static_cast<std::uint32_t>(divisor);
}

// Division by a number that is known beforehand, as a product. Exact while value * divisor < 2^32.
struct Divisor {
  std::uint64_t inverse = std::uint64_t{1} << 32;  // 2^32 / divisor, rounded up

  BRAID_HD static constexpr Divisor of(std::uint32_t divisor) {
    return {((std::uint64_t{1} << 32) + divisor - 1) / divisor};
  }
  BRAID_HD constexpr std::uint32_t quotient(std::uint32_t value) const {
    return static_cast<std::uint32_t>((value * inverse) >> 32);
  }
};

// A half-open range of work, and its share for one of several workers: contiguous, in order, the
// first shares one longer where it does not divide.
struct Range {
  std::int64_t begin = 0;
  std::int64_t end = 0;
  BRAID_HD constexpr std::int64_t size() const { return end - begin; }
};

BRAID_HD constexpr Range share_of(std::int64_t count, std::int64_t part, std::int64_t num_parts) {
  const std::int64_t base = quotient(count, num_parts);
  const std::int64_t longer = count - base * num_parts;
  const std::int64_t begin = part * base + min_of(part, longer);
  return {begin, begin + base + (part < longer ? 1 : 0)};
}

}  // namespace braid
