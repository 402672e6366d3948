#include "app/layer_rank.hpp"

#include <chrono>
#include <cstring>
#include <optional>

#include "app/block.hpp"
#include "app/operations.hpp"
#include "base/math.hpp"
#include "braid/buffer.hpp"
#include "codec/bfloat16.hpp"
#include "expert/expert.hpp"
#include "model/router.hpp"

namespace braid::app {
namespace {

using Clock = std::chrono::steady_clock;

// Adds the time since the last call to a step.
class StepTimer {
 public:
  explicit StepTimer(StepTimes& times) : times_(times) {}
  void add_to(double StepTimes::*step) {
    const Clock::time_point now = Clock::now();
    times_.*step += std::chrono::duration<double, std::micro>(now - last_).count();
    last_ = now;
  }

 private:
  StepTimes& times_;
  Clock::time_point last_ = Clock::now();
};

std::vector<ExpertWeights> local_experts(const LayerCase& layer, int rank, int num_local) {
  const auto begin = layer.layer.experts.begin() + std::ptrdiff_t{rank} * num_local;
  return {begin, begin + num_local};
}

class LayerRank {
 public:
  LayerRank(Group& group, const RunOptions& options, const LayerCase& layer)
      : group_(group),
        options_(options.communication),
        layer_(layer),
        tokens_(share_of(layer.num_tokens, group.rank(), options_.ranks)),
        max_tokens_(static_cast<int>(ceil_div<std::int64_t>(layer.num_tokens, options_.ranks))),
        num_local_(layer.shape.experts / options_.ranks),
        buffer_(group, buffer_options(options_, layer.shape, max_tokens_)),
        experts_(local_experts(layer, group.rank(), num_local_)),
        received_(options_, layer.shape, max_tokens_),
        rows_(received_.rows_like_x()) {
    if (layer.layer.shared) {
      shared_.emplace(std::vector<ExpertWeights>{*layer.layer.shared});
      shared_out_ = Block(DType::kFloat32, {tokens_.size(), hidden()});
    }
    output_ = Block(DType::kBFloat16, {tokens_.size(), hidden()});
  }

  StepTimes pass() {
    // A row that nobody writes is then not a number, instead of the last repeat's right one.
    std::memset(output_.as<void>(), 0xff, output_.tensor().num_bytes());
    group_.barrier();
    StepTimes times;
    const Clock::time_point start = Clock::now();
    StepTimer timer(times);
    routes_ = model::route(layer_.layer, own_tokens(), tokens_.size(), options_.resolved_workers());
    timer.add_to(&StepTimes::gate);
    communicate(timer);
    if (shared_) add_shared();
    timer.add_to(&StepTimes::shared);
    times.total = std::chrono::duration<double, std::micro>(Clock::now() - start).count();
    return times;
  }

  std::string output() const { return {output_.as<const char>(), output_.tensor().num_bytes()}; }

  std::vector<std::int64_t> tokens_per_expert() const { return received_.tokens_per_expert(); }

  OperationTraffic traffic() const {
    return {buffer_.dispatch_traffic(), buffer_.combine_traffic()};
  }

 private:
  int hidden() const { return layer_.shape.hidden; }

  const std::uint16_t* own_tokens() const {
    return layer_.hidden_states.data() + tokens_.begin * hidden();
  }

  // All sends first; then round by round: receive, experts, and the rows' way home, which at the
  // expert rank waits for the last round, since a token's sum may take namings of every round.
  void communicate(StepTimer& timer) {
    const bool at_once = options_.reduce == Reduce::kTokenRank;
    const Handle handle =
        buffer_.dispatch_begin(dispatch_input(), received_.output(), dispatch_options(options_));
    for (int round = 0; round < options_.rounds; ++round) {
      buffer_.dispatch_send(handle, round, stream_);
    }
    buffer_.combine_begin(handle, {rows_.tensor(), topk_weights()}, {output_.tensor(), {}},
                          combine_options(options_));
    for (int round = 0; round < options_.rounds; ++round) {
      buffer_.dispatch_receive(handle, round, stream_);
      stream_.synchronize();
      timer.add_to(&StepTimes::dispatch);
      run_experts(round);
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

  void run_experts(int round) {
    const int per_round = num_local_ / options_.rounds;
    const ExpertInput input{.format = options_.dispatch,
                            .x = received_.x().as<const std::byte>(),
                            .scales = received_.scales().as<const std::byte>(),
                            .counts = received_.counts(),
                            .row_capacity = received_.row_capacity(),
                            .hidden = hidden(),
                            .scale_layout = options_.scales};
    experts_.run(input, {.rows = rows_.as<void>()},
                 {.begin = round * per_round,
                  .end = (round + 1) * per_round,
                  .num_workers = options_.resolved_workers(),
                  .on_block = {}});
  }

  // The combined row is BF16 already; the shared expert's float32 row is added to it in float32
  // and the sum is rounded once.
  void add_shared() {
    if (tokens_.size() == 0) return;
    const Tensor x(const_cast<std::uint16_t*>(own_tokens()), DType::kBFloat16,
                   {tokens_.size(), hidden()});
    shared_->run_dense(x, shared_out_.as<float>(), options_.resolved_workers());
    std::uint16_t* out = output_.as<std::uint16_t>();
    const float* shared = shared_out_.as<float>();
    for (std::int64_t i = 0; i < tokens_.size() * hidden(); ++i) {
      out[i] = codec::float_to_bf16(codec::bf16_to_float(out[i]) + shared[i]);
    }
  }

  DispatchInput dispatch_input() {
    DispatchInput input;
    input.x = Tensor(const_cast<std::uint16_t*>(own_tokens()), DType::kBFloat16,
                     {tokens_.size(), hidden()});
    input.topk_idx =
        Tensor(routes_.topk_idx.data(), DType::kInt64, {tokens_.size(), layer_.shape.top_k});
    if (options_.reduce == Reduce::kExpertRank) input.topk_weights = topk_weights();
    return input;
  }

  Tensor topk_weights() {
    return {routes_.topk_weights.data(), DType::kFloat32, {tokens_.size(), layer_.shape.top_k}};
  }

  Group& group_;
  const CommunicationOptions& options_;
  const LayerCase& layer_;
  Range tokens_;
  int max_tokens_;
  int num_local_;
  Buffer buffer_;
  ExpertFfn experts_;
  std::optional<ExpertFfn> shared_;
  model::Routes routes_;
  ReceivedRows received_;
  Block rows_, output_, shared_out_;
  Stream stream_ = Stream::cpu();  // last, so that it ends before the memory that it works on
};

}  // namespace

RankResult run_layer_rank(Group& group, const RunOptions& options, const LayerCase& layer) {
  LayerRank rank(group, options, layer);
  RankResult result;
  for (int repeat = 0; repeat < options.repeat; ++repeat) {
    const StepTimes times = rank.pass();
    const bool warm_up = repeat == 0 && options.repeat > 1;
    if (!warm_up) result.times.push_back(times);
    std::string output = rank.output();
    if (repeat > 0 && output != result.output) result.repeats_equal = false;
    result.output = std::move(output);
  }
  result.num_operations = options.repeat;
  result.traffic = rank.traffic();
  result.tokens_per_expert = rank.tokens_per_expert();
  return result;
}

}  // namespace braid::app
