#include "app/throughput_exchange.hpp"

namespace braid::app {

ThroughputExchange::ThroughputExchange(Group& group, const CommunicationOptions& options,
                                       const LayerShape& shape, int max_tokens)
    : shape_(shape),
      buffer_(group, throughput_options(options, shape, max_tokens)),
      rows_(make_throughput_rows(options, shape)) {
  layout_.expert_alignment = options.alignment();
}

void ThroughputExchange::run(const LayerPass& pass, StepTimer& timer) {
  const std::int64_t n = pass.x.dim(0);
  const ThroughputHandle handle = buffer_.layout(
      {pass.routes.topk_idx.data(), DType::kInt64, {n, shape_.top_k}}, layout_, stream_);
  rows_->make_room(buffer_.received(handle));
  timer.add_to(&StepTimes::layout);
  const Tensor weights(pass.routes.topk_weights.data(), DType::kFloat32, {n, shape_.top_k});
  const ThroughputCall call{buffer_, handle, stream_};
  rows_->dispatch(call, {pass.x, {}, weights});
  stream_.synchronize();
  timer.add_to(&StepTimes::dispatch);
  rows_->run(pass.experts);
  timer.add_to(&StepTimes::experts);
  rows_->combine(call, pass.output);
  stream_.synchronize();
  timer.add_to(&StepTimes::combine);
}

std::vector<std::int64_t> ThroughputExchange::tokens_per_expert() const {
  return rows_->tokens_per_expert();
}

OperationTraffic ThroughputExchange::traffic() const {
  return {buffer_.dispatch_traffic(), buffer_.combine_traffic()};
}

}  // namespace braid::app
