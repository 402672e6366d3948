// From the command line's options to those of Buffer's operations.
#pragma once

#include <cstdint>
#include <vector>

#include "app/block.hpp"
#include "app/options.hpp"
#include "braid/buffer.hpp"
#include "layout/scales.hpp"

namespace braid::app {

DispatchOptions dispatch_options(const CommunicationOptions& options);
CombineOptions combine_options(const CommunicationOptions& options);

// Where a dispatch's rows arrive.
class ReceivedRows {
 public:
  ReceivedRows(const CommunicationOptions& options, const LayerShape& shape, int max_tokens);

  DispatchOutput output() const;
  const Block& x() const { return x_; }
  const Block& scales() const { return scales_; }
  const std::int32_t* counts() const { return counts_.as<const std::int32_t>(); }
  std::vector<std::int64_t> tokens_per_expert() const;
  const layout::ScaleShape& scale_shape() const { return scale_shape_; }
  std::int64_t row_capacity() const { return x_.tensor().dim(1); }

  // BF16 of the same shape as x.
  Block rows_like_x() const;

 private:
  Block x_, scales_, counts_;
  layout::ScaleShape scale_shape_;
};

}  // namespace braid::app
