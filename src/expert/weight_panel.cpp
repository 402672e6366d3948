#include "expert/weight_panel.hpp"

#include <algorithm>
#include <cstddef>
#include <cstring>

#include "base/math.hpp"
#include "codec/rows.hpp"
#include "codec/scale.hpp"
#include "expert/panel_gemm.hpp"

namespace braid::expert {
namespace {

float scale_at(const WeightView& weights, std::int64_t row, std::int64_t col) {
  if (weights.block_scales == nullptr) return 1.0F;
  return weights.block_scales[row / weights.block * weights.scale_cols() + col / weights.block];
}

// Whole blocks of 128 columns are laid out like a dispatched row: channels, and a scale for each
// group. That leaves the fast row kernel everything but a partial block at the end.
void load_e4m3_row(const WeightView& weights, std::int64_t row, float* out) {
  const std::byte* codes = static_cast<const std::byte*>(weights.data) + row * weights.cols;
  std::int64_t col = 0;
  if (weights.block_scales != nullptr && weights.block == kScaleGroup) {
    col = weights.cols / kScaleGroup * kScaleGroup;
    const float* scales = weights.block_scales + row / weights.block * weights.scale_cols();
    codec::row_kernels().decode_dispatch(DispatchFormat::kFp8, codes,
                                         reinterpret_cast<const std::byte*>(scales),
                                         static_cast<int>(col), out);
  }
  while (col < weights.cols) {
    const float scale = scale_at(weights, row, col);
    const std::int64_t end = weights.block_scales == nullptr
                                 ? weights.cols
                                 : min_of(round_up(col + 1, weights.block), weights.cols);
    for (; col < end; ++col) {
      out[col] = codec::decode_channel(static_cast<std::uint8_t>(codes[col]), scale);
    }
  }
}

void load_row(const WeightView& weights, std::int64_t row, float* out) {
  const std::byte* data = static_cast<const std::byte*>(weights.data);
  const std::size_t row_bytes =
      static_cast<std::size_t>(weights.cols) * element_bytes(weights.dtype);
  data += static_cast<std::size_t>(row) * row_bytes;
  if (weights.dtype == DType::kFloat32) {
    std::memcpy(out, data, row_bytes);
  } else if (weights.dtype == DType::kBFloat16) {
    codec::row_kernels().decode_dispatch(DispatchFormat::kBf16, data, nullptr,
                                         static_cast<int>(weights.cols), out);
  } else {
    load_e4m3_row(weights, row, out);
  }
}

}  // namespace

void load_weight_panel(const WeightView& weights, std::int64_t first_row, float* out) {
  const std::int64_t num_rows = min_of<std::int64_t>(kPanelRows, weights.rows - first_row);
  for (std::int64_t row = 0; row < num_rows; ++row) {
    load_row(weights, first_row + row, out + row * weights.cols);
  }
  std::fill(out + num_rows * weights.cols, out + kPanelRows * weights.cols, 0.0F);
}

}  // namespace braid::expert
