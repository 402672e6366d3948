// Rows of tokens, in whatever form they come, as f32.
#pragma once

#include <cstddef>
#include <cstdint>

#include "expert/expert.hpp"
#include "layout/scales.hpp"

namespace braid::expert {

class RowReader {
 public:
  RowReader() = default;
  explicit RowReader(const ExpertInput& input);
  explicit RowReader(const Tensor& rows);  // [n, hidden], kBFloat16 or kFloat32

  // out[hidden] = row `row`, counted from the first row of the first expert.
  void read(std::int64_t row, float* out) const;

 private:
  const std::byte* x_ = nullptr;
  const std::byte* scales_ = nullptr;
  std::size_t row_bytes_ = 0;
  layout::ScaleShape scale_shape_;
  int hidden_ = 0;
  DispatchFormat format_ = DispatchFormat::kBf16;
  bool is_float32_ = false;  // then format_ does not matter
};

}  // namespace braid::expert
