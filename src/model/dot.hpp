// The one inner product of this folder.
#pragma once

#include <array>
#include <cstdint>

namespace braid::model {

// Sixteen float32 sums, each over every sixteenth channel in ascending order, then added pairwise:
// the same bits for a row whatever surrounds it and however wide the machine's vectors are.
inline float dot(const float* a, const float* b, std::int64_t length) {
  constexpr int kLanes = 16;
  std::array<float, kLanes> sums{};
  std::int64_t i = 0;
  for (; i + kLanes <= length; i += kLanes) {
    for (int lane = 0; lane < kLanes; ++lane) {
      sums[static_cast<std::size_t>(lane)] += a[i + lane] * b[i + lane];
    }
  }
  for (int lane = 0; i + lane < length; ++lane) {
    sums[static_cast<std::size_t>(lane)] += a[i + lane] * b[i + lane];
  }
  for (std::size_t width = kLanes / 2; width > 0; width /= 2) {
    for (std::size_t lane = 0; lane < width; ++lane) sums[lane] += sums[lane + width];
  }
  return sums[0];
}

}  // namespace braid::model
