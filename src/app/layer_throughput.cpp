// A layer in high throughput. Rows by source are gathered by expert and summed before they go home;
// rows by expert are what the experts take and combine sums.
#include "app/layer_exchange.hpp"
#include "app/throughput_rows.hpp"
#include "braid/high_throughput.hpp"

namespace braid::app {
namespace {

class ThroughputExchange final : public LayerExchange {
 public:
  ThroughputExchange(Group& group, const CommunicationOptions& options, const LayerShape& shape,
                     int max_tokens)
      : shape_(shape),
        buffer_(group, throughput_options(options, shape, max_tokens)),
        rows_(make_throughput_rows(options, shape)) {
    layout_.expert_alignment = options.alignment();
  }

  void run(const LayerPass& pass, StepTimer& timer) override {
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

  std::vector<std::int64_t> tokens_per_expert() const override {
    return rows_->tokens_per_expert();
  }

  OperationTraffic traffic() const override {
    return {buffer_.dispatch_traffic(), buffer_.combine_traffic()};
  }

 private:
  LayerShape shape_;
  LayoutOptions layout_;
  HighThroughputBuffer buffer_;
  std::unique_ptr<ThroughputRows> rows_;
  Stream stream_ = Stream::cpu();  // last, so that it ends before the memory that it works on
};

}  // namespace

std::unique_ptr<LayerExchange> make_throughput_exchange(Group& group,
                                                        const CommunicationOptions& options,
                                                        const LayerShape& shape, int max_tokens) {
  return std::make_unique<ThroughputExchange>(group, options, shape, max_tokens);
}

}  // namespace braid::app
