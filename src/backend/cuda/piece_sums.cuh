// Sums of rows that lie in shared memory piece by piece, by a warp. The bits are the codec's.
#pragma once

#include "backend/cuda/combine_rows.cuh"

namespace braid::cuda {

// The same vectors of eight channels of each row.
struct PieceRows {
  const uint4* first;  // the first row's
  int stride;          // vectors from a row to the next one
  int count;           // vectors of each
  int num_rows;
};

// A lane's vectors are some at a time, so that its loads and additions don't wait for each other.
// The last ones are loaded again where there are fewer.
template <int kVectors>
__device__ inline void load_vectors(const uint4* row, int base, int count, uint4 (&x)[kVectors]) {
#pragma unroll
  for (int i = 0; i < kVectors; ++i) x[i] = row[min_of(base + i * kWarpLanes, count - 1)];
}
template <int kVectors>
__device__ inline void store_vectors(const uint4 (&x)[kVectors], int base, int count, uint4* to) {
#pragma unroll
  for (int i = 0; i < kVectors; ++i) {
    if (base + i * kWarpLanes < count) to[base + i * kWarpLanes] = x[i];
  }
}

// Two rows as they are: their sum rounded once is what it is in float32 and rounded then, since
// float32 holds the sum of two BF16 exactly, or they differ by so much that neither rounding takes
// it from the larger one. The zero makes a sum that starts at +0 of two times -0.
__device__ inline void sum_two(const PieceRows& rows, uint4* to) {
  constexpr int kVectors = 7;  // of 7168 channels, half a row's share of a place at once
#pragma unroll 1
  for (int base = static_cast<int>(threadIdx.x) % kWarpLanes; base < rows.count;
       base += kVectors * kWarpLanes) {
    uint4 x[kVectors], y[kVectors];
    load_vectors(rows.first, base, rows.count, x);
    load_vectors(rows.first + rows.stride, base, rows.count, y);
#pragma unroll
    for (int i = 0; i < kVectors; ++i) x[i] = two_sums_of(x[i], y[i]);
    take_codec_nan(x);
    store_vectors(x, base, rows.count, to);
  }
}

// Any number of them, in order, in float32.
__device__ inline void sum_in_order(const PieceRows& rows, uint4* to) {
  constexpr int kVectors = 4;
#pragma unroll 1
  for (int base = static_cast<int>(threadIdx.x) % kWarpLanes; base < rows.count;
       base += kVectors * kWarpLanes) {
    float sums[kVectors][8] = {};
#pragma unroll 1
    for (int row = 0; row < rows.num_rows; ++row) {
      uint4 x[kVectors];
      load_vectors(rows.first + row * rows.stride, base, rows.count, x);
#pragma unroll
      for (int i = 0; i < kVectors; ++i) add_eight(x[i], 1.0F, sums[i]);
    }
    uint4 out[kVectors];
#pragma unroll
    for (int i = 0; i < kVectors; ++i) out[i] = eight_rounded(sums[i]);
    take_codec_nan(out);
    store_vectors(out, base, rows.count, to);
  }
}

__device__ inline void sum_pieces(const PieceRows& rows, uint4* to) {
  if (rows.num_rows == 2) {
    sum_two(rows, to);
  } else {
    sum_in_order(rows, to);
  }
}

}  // namespace braid::cuda
