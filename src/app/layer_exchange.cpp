#include "app/layer_exchange.hpp"

#include "app/block.hpp"
#include "app/operations.hpp"
#include "braid/buffer.hpp"

namespace braid::app {
namespace {

class LowLatencyExchange final : public LayerExchange {
 public:
  LowLatencyExchange(Group& group, const CommunicationOptions& options, const LayerShape& shape,
                     int max_tokens)
      : options_(options),
        shape_(shape),
        buffer_(group, buffer_options(options, shape, max_tokens)),
        received_(options, shape, max_tokens),
        rows_(received_.rows_like_x()) {}

  // All sends first; then round by round: receive, experts, and the rows' way home, which at the
  // expert rank waits for the last round, since a token's sum may take namings of every round.
  void run(const LayerPass& pass, StepTimer& timer) override {
    const bool at_once = options_.reduce() == Reduce::kTokenRank;
    const Handle handle = buffer_.dispatch_begin(dispatch_input(pass), received_.output(),
                                                 dispatch_options(options_));
    for (int round = 0; round < options_.rounds; ++round) {
      buffer_.dispatch_send(handle, round, stream_);
    }
    buffer_.combine_begin(handle, {rows_.tensor(), topk_weights(pass)}, {pass.output, {}},
                          combine_options(options_));
    for (int round = 0; round < options_.rounds; ++round) {
      buffer_.dispatch_receive(handle, round, stream_);
      stream_.synchronize();
      timer.add_to(&StepTimes::dispatch);
      run_experts(pass, round);
      timer.add_to(&StepTimes::experts);
      if (at_once) buffer_.combine_send(handle, round, stream_);
    }
    for (int round = 0; round < options_.rounds && !at_once; ++round) {
      buffer_.combine_send(handle, round, stream_);
    }
    buffer_.combine_receive(handle, stream_);
    stream_.synchronize();
    timer.add_to(&StepTimes::combine);
  }

  std::vector<std::int64_t> tokens_per_expert() const override {
    return received_.tokens_per_expert();
  }

  OperationTraffic traffic() const override {
    return {buffer_.dispatch_traffic(), buffer_.combine_traffic()};
  }

 private:
  void run_experts(const LayerPass& pass, int round) {
    const int per_round = shape_.experts / options_.ranks / options_.rounds;
    const ExpertInput input{.format = options_.dispatch,
                            .x = received_.x().as<const std::byte>(),
                            .scales = received_.scales().as<const std::byte>(),
                            .counts = received_.counts(),
                            .row_capacity = received_.row_capacity(),
                            .hidden = shape_.hidden,
                            .scale_layout = options_.scales};
    pass.experts.run(input, {.rows = rows_.as<void>()},
                     {.begin = round * per_round,
                      .end = (round + 1) * per_round,
                      .num_workers = options_.resolved_workers(),
                      .on_block = {}});
  }

  DispatchInput dispatch_input(const LayerPass& pass) const {
    DispatchInput input;
    input.x = pass.x;
    input.topk_idx = {pass.routes.topk_idx.data(), DType::kInt64, {pass.x.dim(0), shape_.top_k}};
    if (options_.reduce() == Reduce::kExpertRank) input.topk_weights = topk_weights(pass);
    return input;
  }

  Tensor topk_weights(const LayerPass& pass) const {
    return {pass.routes.topk_weights.data(), DType::kFloat32, {pass.x.dim(0), shape_.top_k}};
  }

  const CommunicationOptions& options_;
  LayerShape shape_;
  Buffer buffer_;
  ReceivedRows received_;
  Block rows_;
  Stream stream_ = Stream::cpu();  // last, so that it ends before the memory that it works on
};

}  // namespace

std::unique_ptr<LayerExchange> make_exchange(Group& group, const CommunicationOptions& options,
                                             const LayerShape& shape, int max_tokens) {
  if (options.mode == Mode::kHighThroughput) {
    return make_throughput_exchange(group, options, shape, max_tokens);
  }
  return std::make_unique<LowLatencyExchange>(group, options, shape, max_tokens);
}

}  // namespace braid::app
