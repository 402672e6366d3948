#include "app/layer_rank.hpp"

#include <chrono>
#include <cstring>
#include <memory>
#include <optional>

#include "app/block.hpp"
#include "app/layer_exchange.hpp"
#include "base/math.hpp"
#include "codec/bfloat16.hpp"
#include "expert/expert.hpp"
#include "model/router.hpp"

namespace braid::app {
namespace {

using Clock = std::chrono::steady_clock;

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
        exchange_(make_exchange(group, options_, layer.shape, max_tokens_)),
        experts_(local_experts(layer, group.rank(), layer.shape.experts / options_.ranks)) {
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
    const Tensor x(const_cast<std::uint16_t*>(own_tokens()), DType::kBFloat16,
                   {tokens_.size(), hidden()});
    exchange_->run({routes_, x, output_.tensor(), experts_}, timer);
    if (shared_) add_shared();
    timer.add_to(&StepTimes::shared);
    times.total = std::chrono::duration<double, std::micro>(Clock::now() - start).count();
    return times;
  }

  std::string output() const { return output_.bytes(); }

  std::vector<std::int64_t> tokens_per_expert() const { return exchange_->tokens_per_expert(); }

  OperationTraffic traffic() const { return exchange_->traffic(); }

 private:
  int hidden() const { return layer_.shape.hidden; }

  const std::uint16_t* own_tokens() const {
    return layer_.hidden_states.data() + tokens_.begin * hidden();
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

  Group& group_;
  const CommunicationOptions& options_;
  const LayerCase& layer_;
  Range tokens_;
  int max_tokens_;
  std::unique_ptr<LayerExchange> exchange_;
  ExpertFfn experts_;
  std::optional<ExpertFfn> shared_;
  model::Routes routes_;
  Block output_, shared_out_;
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
