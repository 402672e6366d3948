// Nested sums alone, without a protocol around them: warps of one block sum rows of device memory.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>

namespace braid::gpu_test {

inline constexpr int kMostTerms = 40;

struct NestedTerms {
  std::int32_t num_inner = 0, num_plain = 0, inner_at = 0;
};

enum class SumsGo : std::int32_t {
  kToMemory,  // sum_nested
  kAsRows,    // put_nested, as a rank sends them
};

// In device memory.
struct NestedSums {
  const std::byte* const* rows = nullptr;  // [count][kMostTerms]
  const float* weights = nullptr;          // [count][kMostTerms]
  const NestedTerms* terms = nullptr;      // [count]
  std::byte* out = nullptr;                // [count][hidden] bf16
  std::int32_t count = 0;
  std::int32_t hidden = 0;
  std::int32_t ring_steps = 0;  // of a warp's place
  SumsGo go = SumsGo::kToMemory;
};

void launch_nested_sums(const NestedSums& sums, cudaStream_t stream);

}  // namespace braid::gpu_test
