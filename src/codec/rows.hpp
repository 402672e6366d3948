// Whole rows on the CPU. The same code is built for several instruction sets; each build gives the
// same bits as the definitions in e4m3.hpp, scale.hpp and logfmt.hpp (tests/unit/codec).
//
// A row is H BF16 channels, H a multiple of hidden_multiple(format). No pointer needs more
// alignment than its type; input and output don't overlap.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "braid/format.hpp"

namespace braid::codec {

struct RowKernels {
  const char* name;  // "baseline", "avx2", "avx512"

  // Writes dispatch_data_bytes and dispatch_scale_bytes; BF16 is a copy, scales untouched.
  void (*encode_dispatch)(DispatchFormat format, const std::uint16_t* x, int hidden,
                          std::byte* data, std::byte* scales);
  void (*decode_dispatch)(DispatchFormat format, const std::byte* data, const std::byte* scales,
                          int hidden, float* out);

  // Returns the bytes used: at most combine_row_max_bytes, and a multiple of 16 for LogFMT.
  std::size_t (*encode_combine)(CombineFormat format, const std::uint16_t* x, int hidden,
                                std::byte* row);
  // acc[i] = fma(weight, value i, acc[i])
  void (*accumulate_combine)(CombineFormat format, const std::byte* row, int hidden, float weight,
                             float* acc);
  void (*accumulate_bf16)(const std::uint16_t* x, int hidden, float weight, float* acc);
  // out[i] = sum_to_bf16(acc[i])
  void (*store_bf16)(const float* acc, int hidden, std::uint16_t* out);

  // acc = +0, accumulate_bf16 of each row in order, store_bf16: the same bits, and each row is
  // read once and the output written once.
  void (*weighted_sum_bf16)(const std::uint16_t* const* rows, const float* weights, int num_rows,
                            int hidden, std::uint16_t* out);
};

// The fastest that this processor runs; chosen at the first call.
const RowKernels& row_kernels();

// All that this processor runs, slowest first; tests compare them.
std::span<const RowKernels* const> available_row_kernels();

}  // namespace braid::codec
