#include "app/operations.hpp"

#include "codec/row.hpp"

namespace braid::app {

DispatchOptions dispatch_options(const CommunicationOptions& options) {
  return {.format = options.dispatch,
          .fan_out = options.resolved_fan_out(),
          .scale_layout = options.scales,
          .num_rounds = options.rounds,
          .send_workers = options.send_budget(),
          .receive_workers = options.receive_budget()};
}

CombineOptions combine_options(const CommunicationOptions& options) {
  CombineOptions combine;
  combine.format = options.combine;
  combine.reduce = options.reduce();
  combine.num_rounds = options.rounds;
  combine.send_workers = options.send_budget();
  combine.receive_workers = options.receive_budget();
  return combine;
}

ReceivedRows::ReceivedRows(const CommunicationOptions& options, const LayerShape& shape,
                           int max_tokens) {
  const std::int64_t num_local = shape.experts / options.ranks;
  const std::int64_t capacity = std::int64_t{options.ranks} * max_tokens;
  const bool fp8 = options.dispatch != DispatchFormat::kBf16;
  x_ = Block(fp8 ? DType::kFloat8E4M3 : DType::kBFloat16, {num_local, capacity, shape.hidden});
  counts_ = Block(DType::kInt32, {num_local});
  const std::int64_t words =
      codec::dispatch_scale_bytes(options.dispatch, shape.hidden) / layout::kScaleWordBytes;
  scale_shape_ = {options.scales, words, capacity};
  if (!fp8) return;
  const bool packed = options.dispatch == DispatchFormat::kFp8Ue8m0;
  const DType word = packed ? DType::kInt32 : DType::kFloat32;
  scales_ = options.scales == ScaleLayout::kColumnMajor ? Block(word, {num_local, words, capacity})
                                                        : Block(word, {num_local, capacity, words});
}

DispatchOutput ReceivedRows::output() const {
  DispatchOutput output;
  output.x = x_.tensor();
  output.scales = scales_.tensor();
  output.counts = counts_.tensor();
  return output;
}

std::vector<std::int64_t> ReceivedRows::tokens_per_expert() const {
  return {counts(), counts() + counts_.tensor().dim(0)};
}

Block ReceivedRows::rows_like_x() const {
  return {DType::kBFloat16, {x_.tensor().dim(0), x_.tensor().dim(1), x_.tensor().dim(2)}};
}

}  // namespace braid::app
