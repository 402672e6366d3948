#include "model/router.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/check.hpp"
#include "base/math.hpp"
#include "codec/bfloat16.hpp"
#include "model/dot.hpp"
#include "model/parallel.hpp"

namespace braid::model {
namespace {

constexpr float kNeverChosen = -std::numeric_limits<float>::infinity();
constexpr float kLargestBias = 1e30F;  // so that a sum of scores is never infinite
constexpr float kLeastSum = 1e-20F;    // keeps the division defined where every sigmoid is zero

// The first of the largest values. Taking it before anything else is what sends ties to the lower
// index.
std::size_t index_of_best(std::span<const float> values) {
  return static_cast<std::size_t>(std::max_element(values.begin(), values.end()) - values.begin());
}

// The sum of a group's two best scores, by which groups compete.
float sum_of_best_two(std::span<const float> scores) {
  float best = kNeverChosen;
  float second = kNeverChosen;
  for (const float score : scores) {
    if (score > best) {
      second = best;
      best = score;
    } else if (score > second) {
      second = score;
    }
  }
  return best + second;
}

}  // namespace

void validate(const RouterConfig& config) {
  require(config.num_experts >= 1, "experts is {}, but must be at least 1", config.num_experts);
  require(config.top_k >= 1 && config.top_k <= config.num_experts,
          "top-k is {}, but must be from 1 to the {} experts", config.top_k, config.num_experts);
  require(config.num_groups >= 1 && config.num_experts % config.num_groups == 0,
          "{} experts are not divisible by {} groups", config.num_experts, config.num_groups);
  require(config.kept_groups >= 1 && config.kept_groups <= config.num_groups,
          "groups to choose from is {}, but must be from 1 to the {} groups", config.kept_groups,
          config.num_groups);
  if (config.num_groups == 1) return;
  const int group_size = config.num_experts / config.num_groups;
  require(group_size >= 2, "{} groups of {} experts have one each, but a group has at least 2",
          config.num_groups, config.num_experts);
  require(config.top_k <= group_size * config.kept_groups,
          "top-k is {}, but {} groups of {} experts have only {} to choose from", config.top_k,
          config.kept_groups, group_size, group_size * config.kept_groups);
}

RouterRule::RouterRule(const RouterConfig& config, std::span<const float> bias)
    : config_(config),
      bias_(bias.begin(), bias.end()),
      scores_(static_cast<std::size_t>(config.num_experts)),
      corrected_(scores_.size()),
      group_scores_(static_cast<std::size_t>(config.num_groups)) {
  validate(config);
  require(bias_.empty() || bias_.size() == scores_.size(),
          "the correction bias has {} values, but there are {} experts", bias_.size(),
          config.num_experts);
  for (std::size_t expert = 0; expert < bias_.size(); ++expert) {
    require(std::abs(bias_[expert]) <= kLargestBias,
            "the correction bias of expert {} is {}, but must be from {} to {}", expert,
            bias_[expert], -kLargestBias, kLargestBias);
  }
}

void RouterRule::score(std::span<const float> logits) {
  if (config_.score == ScoreRule::kSigmoid) {
    std::transform(logits.begin(), logits.end(), scores_.begin(),
                   [](float logit) { return 1.0F / (1.0F + std::exp(-logit)); });
    return;
  }
  const float highest = *std::max_element(logits.begin(), logits.end());
  float sum = 0;
  for (std::size_t expert = 0; expert < scores_.size(); ++expert) {
    scores_[expert] = std::exp(logits[expert] - highest);
    sum += scores_[expert];
  }
  for (float& value : scores_) value /= sum;
}

void RouterRule::keep_best_groups() {
  const std::size_t size = corrected_.size() / group_scores_.size();
  const std::span<float> corrected(corrected_);
  for (std::size_t group = 0; group < group_scores_.size(); ++group) {
    group_scores_[group] = sum_of_best_two(corrected.subspan(group * size, size));
  }
  std::vector<bool> kept(group_scores_.size(), false);
  for (int i = 0; i < config_.kept_groups; ++i) {
    const std::size_t best = index_of_best(group_scores_);
    kept[best] = true;
    group_scores_[best] = kNeverChosen;
  }
  for (std::size_t group = 0; group < kept.size(); ++group) {
    if (kept[group]) continue;
    const std::span<float> lost = corrected.subspan(group * size, size);
    std::fill(lost.begin(), lost.end(), kNeverChosen);
  }
}

void RouterRule::choose(std::int64_t token, std::span<const float> logits, std::int64_t* topk_idx,
                        float* topk_weights) {
  BRAID_CHECK(logits.size() == scores_.size());
  for (std::size_t expert = 0; expert < logits.size(); ++expert) {
    require(std::isfinite(logits[expert]),
            "token {} has the router logit {} for expert {}, but logits must be finite", token,
            logits[expert], expert);
  }
  score(logits);
  corrected_ = scores_;
  for (std::size_t expert = 0; expert < bias_.size(); ++expert) corrected_[expert] += bias_[expert];
  if (config_.num_groups > 1) keep_best_groups();

  float sum = 0;
  for (int choice = 0; choice < config_.top_k; ++choice) {
    const std::size_t best = index_of_best(corrected_);
    topk_idx[choice] = static_cast<std::int64_t>(best);
    topk_weights[choice] = scores_[best];
    sum += scores_[best];
    corrected_[best] = kNeverChosen;
  }
  // The least sum is far below what a softmax can give, so only sigmoids notice it.
  const float divisor = config_.normalize ? sum + kLeastSum : 1.0F;
  for (int choice = 0; choice < config_.top_k; ++choice) {
    topk_weights[choice] = topk_weights[choice] / divisor * config_.scaling_factor;
  }
}

Routes route(const MoeLayer& layer, const std::uint16_t* hidden_states, std::int64_t num_tokens,
             int num_threads) {
  constexpr std::int64_t kTokensPerPiece = 16;
  const RouterConfig& config = layer.config.router;
  const std::int64_t hidden = layer.config.hidden;
  const auto num_experts = static_cast<std::size_t>(config.num_experts);
  Routes routes{
      .num_tokens = num_tokens, .top_k = config.top_k, .topk_idx = {}, .topk_weights = {}};
  routes.topk_idx.resize(static_cast<std::size_t>(num_tokens * config.top_k));
  routes.topk_weights.resize(routes.topk_idx.size());

  for_each_piece(ceil_div(num_tokens, kTokensPerPiece), num_threads, [&](std::int64_t piece) {
    RouterRule rule(config, layer.correction_bias);
    std::vector<float> row(static_cast<std::size_t>(hidden));
    std::vector<float> logits(num_experts);
    const std::int64_t end = min_of((piece + 1) * kTokensPerPiece, num_tokens);
    for (std::int64_t token = piece * kTokensPerPiece; token < end; ++token) {
      const std::uint16_t* bits = hidden_states + token * hidden;
      std::transform(bits, bits + hidden, row.begin(), codec::bf16_to_float);
      for (std::size_t expert = 0; expert < num_experts; ++expert) {
        const float* weights = layer.gate.data() + static_cast<std::int64_t>(expert) * hidden;
        logits[expert] = dot(row.data(), weights, hidden);
      }
      rule.choose(token, logits, routes.topk_idx.data() + token * config.top_k,
                  routes.topk_weights.data() + token * config.top_k);
    }
  });
  return routes;
}

}  // namespace braid::model
