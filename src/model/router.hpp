// Choosing experts: which top_k experts a token goes to, and with what weight.
//
// All in float32 and one token at a time with a fixed order of additions, so that a token's routes
// don't depend on which rank, batch or thread computes them.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "model/layer.hpp"
#include "model/router_config.hpp"

namespace braid::model {

// Row-major [num_tokens, top_k]. A choice of -1 is no route; its weight counts for nothing.
struct Routes {
  std::int64_t num_tokens = 0;
  int top_k = 0;
  std::vector<std::int64_t> topk_idx;
  std::vector<float> topk_weights;
};

// The routes of one token from its logits. A token's choices are in descending order of the score
// they were chosen by (softmax: the probability; sigmoid: the score plus the correction bias),
// equal scores in ascending order of expert; equal groups likewise. Weights come from the scores
// without the bias. Experts outside the kept groups are never chosen, whatever the bias.
class RouterRule {
 public:
  // bias: [num_experts], or empty.
  RouterRule(const RouterConfig& config, std::span<const float> bias);

  // logits: [num_experts]; topk_idx and topk_weights: [top_k]. Throws kInvalidArgument for a logit
  // that is not finite, naming `token`.
  void choose(std::int64_t token, std::span<const float> logits, std::int64_t* topk_idx,
              float* topk_weights);

 private:
  void score(std::span<const float> logits);
  void keep_best_groups();

  RouterConfig config_;
  std::vector<float> bias_;
  std::vector<float> scores_;     // what weights are taken from
  std::vector<float> corrected_;  // what is chosen by; lowest for experts that can't be chosen
  std::vector<float> group_scores_;
};

// The layer's router on BF16 hidden states [num_tokens, hidden]. num_threads 0: as many as cores.
Routes route(const MoeLayer& layer, const std::uint16_t* hidden_states, std::int64_t num_tokens,
             int num_threads = 0);

}  // namespace braid::model
