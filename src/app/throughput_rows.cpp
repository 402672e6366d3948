#include "app/throughput_rows.hpp"

#include <algorithm>

#include "codec/row.hpp"

namespace braid::app {

ThroughputRows::ThroughputRows(const CommunicationOptions& options, const LayerShape& shape,
                               std::int64_t num_rows)
    : hidden_(shape.hidden),
      data_bytes_(codec::dispatch_data_bytes(options.dispatch, shape.hidden)),
      scale_bytes_(codec::dispatch_scale_bytes(options.dispatch, shape.hidden)),
      top_k_(shape.top_k),
      topk_idx_(DType::kInt32, {num_rows, shape.top_k}),
      weights_(DType::kFloat32, {num_rows, shape.top_k}),
      sums_(DType::kBFloat16, {num_rows, shape.hidden}) {
  const bool fp8 = options.dispatch != DispatchFormat::kBf16;
  x_ = Block(fp8 ? DType::kFloat8E4M3 : DType::kBFloat16, {num_rows, shape.hidden});
  if (fp8) scales_ = Block(DType::kFloat32, {num_rows, shape.hidden / kScaleGroup});
}

DispatchedRows ThroughputRows::output() const {
  return {x_.tensor(), scales_.tensor(), topk_idx_.tensor(), weights_.tensor()};
}

std::vector<std::int64_t> ThroughputRows::tokens_per_expert(int num_local) const {
  std::vector<std::int64_t> counts(static_cast<std::size_t>(num_local));
  for (std::int64_t row = 0; row < num_rows(); ++row) {
    const std::int32_t* named = experts(row);
    for (int choice = 0; choice < top_k_; ++choice) {
      const bool repeats = std::find(named, named + choice, named[choice]) != named + choice;
      if (named[choice] >= 0 && !repeats) ++counts[static_cast<std::size_t>(named[choice])];
    }
  }
  return counts;
}

}  // namespace braid::app
