// A linear layer's weights as a checkpoint stores them: y = x W^T with W[rows = out][cols = in].
//
// A view: the memory belongs to whoever mapped the file, and is never converted as a whole.
#pragma once

#include <cstdint>

#include "base/math.hpp"
#include "braid/tensor.hpp"

namespace braid {

struct WeightView {
  const void* data = nullptr;      // row-major [rows, cols], aligned to its elements only
  DType dtype = DType::kBFloat16;  // kBFloat16, kFloat32 or kFloat8E4M3
  std::int64_t rows = 0;           // output channels
  std::int64_t cols = 0;           // input channels

  // Where W is stored as e4m3: W[r][c] is stored[r][c] * scale of its block. Row-major
  // [ceil(rows/block), ceil(cols/block)]; the last block of a row or column may be partial.
  // Null for the other types, and for e4m3 that needs no scale.
  const float* block_scales = nullptr;
  std::int64_t block = 128;  // rows and columns of one block

  bool empty() const { return data == nullptr; }
  std::int64_t scale_rows() const { return ceil_div(rows, block); }
  std::int64_t scale_cols() const { return ceil_div(cols, block); }
};

// A gated feed-forward network: down(silu(gate(x)) * up(x)). gate and up are [width, hidden],
// down is [hidden, width].
struct ExpertWeights {
  WeightView gate;
  WeightView up;
  WeightView down;
};

}  // namespace braid
