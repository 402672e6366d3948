#include "expert/row_reader.hpp"

#include <cstring>
#include <vector>

#include "codec/row.hpp"
#include "codec/rows.hpp"

namespace braid::expert {

RowReader::RowReader(const ExpertInput& input)
    : x_(input.x),
      scales_(input.scales),
      row_bytes_(static_cast<std::size_t>(codec::dispatch_data_bytes(input.format, input.hidden))),
      scale_shape_{
          input.scale_layout,
          codec::dispatch_scale_bytes(input.format, input.hidden) / layout::kScaleWordBytes,
          input.row_capacity},
      hidden_(input.hidden),
      format_(input.format) {}

RowReader::RowReader(const Tensor& rows)
    : x_(rows.as<const std::byte>()),
      row_bytes_(static_cast<std::size_t>(rows.dim(1)) * element_bytes(rows.dtype)),
      hidden_(static_cast<int>(rows.dim(1))),
      is_float32_(rows.dtype == DType::kFloat32) {}

void RowReader::read(std::int64_t row, float* out) const {
  const std::size_t index = static_cast<std::size_t>(row);
  const std::byte* data = x_ + index * row_bytes_;
  if (is_float32_) {
    std::memcpy(out, data, row_bytes_);
    return;
  }
  std::vector<std::byte> gathered;
  const std::byte* scales = layout::row_scales(scale_shape_, scales_, row, gathered);
  codec::row_kernels().decode_dispatch(format_, data, scales, hidden_, out);
}

}  // namespace braid::expert
