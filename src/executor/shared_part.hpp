// The shared expert's part of a layer's output.
#pragma once

#include <cstdint>

#include "braid/tensor.hpp"
#include "codec/bfloat16.hpp"

namespace braid::executor {

// The combined row is BF16 already; the shared expert's float32 row is added to it in float32 and
// the sum is rounded once.
inline void add_shared_part(const Tensor& output, const Tensor& shared) {
  auto* out = output.as<std::uint16_t>();
  const auto* part = shared.as<const float>();
  for (std::int64_t i = 0; i < output.num_elements(); ++i) {
    out[i] = codec::float_to_bf16(codec::bf16_to_float(out[i]) + part[i]);
  }
}

}  // namespace braid::executor
