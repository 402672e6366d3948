// The rule by which a layer chooses experts: parameters only; router.hpp applies them.
#pragma once

#include <cstdint>

namespace braid::model {

enum class ScoreRule : std::uint8_t {
  kSoftmax,  // over all experts of a token (Qwen3-MoE)
  kSigmoid,  // each expert by itself (DeepSeek-V3)
};

struct RouterConfig {
  int num_experts = 0;
  int top_k = 0;
  ScoreRule score = ScoreRule::kSoftmax;
  // Experts lie in num_groups equal groups of neighbors, and only the best kept_groups of them can
  // be chosen from. A group's score is the sum of its two best corrected scores. 1: no groups.
  int num_groups = 1;
  int kept_groups = 1;
  bool normalize = true;        // a token's weights are divided by their sum
  float scaling_factor = 1.0F;  // and multiplied by this
};

// Throws kInvalidArgument for what no token could be routed by: top_k over the experts that the
// kept groups have, groups that don't divide the experts, groups of one.
void validate(const RouterConfig& config);

}  // namespace braid::model
