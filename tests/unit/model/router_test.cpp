#include "model/router.hpp"

#include <cmath>
#include <limits>
#include <random>

#include "model/samples.hpp"
#include "model_test.hpp"

namespace braid::model {
namespace {

using test::expect_error;

struct Choice {
  std::vector<std::int64_t> experts;
  std::vector<float> weights;
};

Choice choose(const RouterConfig& config, const std::vector<float>& logits,
              const std::vector<float>& bias = {}) {
  Choice choice{std::vector<std::int64_t>(static_cast<std::size_t>(config.top_k), -7),
                std::vector<float>(static_cast<std::size_t>(config.top_k))};
  RouterRule(config, bias).choose(0, logits, choice.experts.data(), choice.weights.data());
  return choice;
}

float sigmoid(float x) { return 1.0F / (1.0F + std::exp(-x)); }

RouterConfig softmax_config(int num_experts, int top_k) {
  return {.num_experts = num_experts, .top_k = top_k};
}

RouterConfig sigmoid_config(int num_experts, int top_k) {
  return {.num_experts = num_experts, .top_k = top_k, .score = ScoreRule::kSigmoid};
}

void expect_same_as_transformers(const std::filesystem::path& directory) {
  const MoeLayer layer = load_layer(directory);
  const Samples samples = load_samples(directory, layer.config);
  ASSERT_EQ(samples.num_tokens, 96);
  ASSERT_EQ(samples.topk_idx.size(), 96U * 8U);
  const Routes routes = route(layer, samples.hidden_states.data(), samples.num_tokens);
  EXPECT_EQ(routes.topk_idx, samples.topk_idx);
  ASSERT_EQ(routes.topk_weights.size(), samples.topk_weights.size());
  for (std::size_t i = 0; i < samples.topk_weights.size(); ++i) {
    EXPECT_NEAR(routes.topk_weights[i], samples.topk_weights[i], 2e-6F * samples.topk_weights[i]);
  }
}

TEST(Router, ChoosesAsTransformersDoesForQwen3Moe) {
  expect_same_as_transformers(test::qwen3_moe());
}

TEST(Router, ChoosesAsTransformersDoesForDeepseekV3) {
  expect_same_as_transformers(test::deepseek_v3());
}

// Without this the fixture would not show that bias and groups count.
TEST(Router, DeepseekFixtureDependsOnBiasAndGroups) {
  MoeLayer layer = load_layer(test::deepseek_v3());
  const Samples samples = load_samples(test::deepseek_v3(), layer.config);
  MoeLayer unbiased = layer;
  unbiased.correction_bias.assign(32, 0.0F);
  EXPECT_NE(route(unbiased, samples.hidden_states.data(), 96).topk_idx, samples.topk_idx);
  layer.config.router.kept_groups = 8;
  EXPECT_NE(route(layer, samples.hidden_states.data(), 96).topk_idx, samples.topk_idx);
}

TEST(Router, ATokensRoutesDependOnNothingButTheToken) {
  for (const auto& directory : {test::qwen3_moe(), test::deepseek_v3()}) {
    const MoeLayer layer = load_layer(directory);
    const Samples samples = load_samples(directory, layer.config);
    const Routes together = route(layer, samples.hidden_states.data(), 96, 2);
    for (std::int64_t token = 0; token < 96; ++token) {
      const Routes alone = route(layer, samples.hidden_states.data() + token * 256, 1, 1);
      for (std::size_t choice = 0; choice < 8; ++choice) {
        const std::size_t at = static_cast<std::size_t>(token) * 8 + choice;
        ASSERT_EQ(alone.topk_idx[choice], together.topk_idx[at]);
        ASSERT_EQ(alone.topk_weights[choice], together.topk_weights[at]);
      }
    }
  }
}

TEST(Router, NoTokensGiveNoRoutes) {
  const MoeLayer layer = load_layer(test::qwen3_moe());
  const Routes routes = route(layer, nullptr, 0);
  EXPECT_EQ(routes.num_tokens, 0);
  EXPECT_TRUE(routes.topk_idx.empty());
}

TEST(Router, SoftmaxWeightsAreProbabilitiesDividedByTheirSum) {
  RouterConfig config = softmax_config(3, 2);
  // Probabilities 0.5, 0.3, 0.2.
  const std::vector<float> logits = {std::log(0.3F), std::log(0.5F), std::log(0.2F)};
  Choice choice = choose(config, logits);
  EXPECT_EQ(choice.experts, (std::vector<std::int64_t>{1, 0}));
  EXPECT_NEAR(choice.weights[0], 0.625F, 1e-6);
  EXPECT_NEAR(choice.weights[1], 0.375F, 1e-6);
  config.normalize = false;
  choice = choose(config, logits);
  EXPECT_NEAR(choice.weights[0], 0.5F, 1e-6);
  EXPECT_NEAR(choice.weights[1], 0.3F, 1e-6);
}

TEST(Router, SoftmaxHoldsForLogitsThatExpCant) {
  const Choice choice = choose(softmax_config(3, 2), {-1000.0F, 3e38F, -3e38F});
  EXPECT_EQ(choice.experts, (std::vector<std::int64_t>{1, 0}));
  EXPECT_EQ(choice.weights[0], 1.0F);
  EXPECT_EQ(choice.weights[1], 0.0F);
}

TEST(Router, TiesGoToTheLowerExpert) {
  EXPECT_EQ(choose(softmax_config(6, 4), {1, 2, 1, 2, 1, 1}).experts,
            (std::vector<std::int64_t>{1, 3, 0, 2}));
  EXPECT_EQ(choose(sigmoid_config(6, 6), {0, 0, 0, 0, 0, 0}).experts,
            (std::vector<std::int64_t>{0, 1, 2, 3, 4, 5}));
}

TEST(Router, BiasChangesTheChoiceButNotTheWeight) {
  RouterConfig config = sigmoid_config(4, 2);
  config.scaling_factor = 2.5F;
  const std::vector<float> logits = {2, 1, 0, -1};
  const Choice choice = choose(config, logits, {0, 0, 0, 5});
  EXPECT_EQ(choice.experts, (std::vector<std::int64_t>{3, 0}));
  const float sum = sigmoid(-1) + sigmoid(2);
  EXPECT_NEAR(choice.weights[0], 2.5F * sigmoid(-1) / sum, 1e-6);
  EXPECT_NEAR(choice.weights[1], 2.5F * sigmoid(2) / sum, 1e-6);
}

TEST(Router, GroupsCompeteByTheSumOfTheirBestTwo) {
  RouterConfig config = sigmoid_config(6, 2);
  config.num_groups = 2;
  // In turn: the best expert is in the group that loses; both are close; the three of the group
  // that loses are together the best.
  EXPECT_EQ(choose(config, {4, -4, -4, 1, 2, -9}).experts, (std::vector<std::int64_t>{4, 3}));
  EXPECT_EQ(choose(config, {4, 1, -9, 1, 2, 1.7F}).experts, (std::vector<std::int64_t>{4, 5}));
  EXPECT_EQ(choose(config, {4, 3, -9, 1, 2, 1.5F}).experts, (std::vector<std::int64_t>{0, 1}));
}

TEST(Router, GroupsCompeteWithTheirBias) {
  RouterConfig config = sigmoid_config(4, 1);
  config.num_groups = 2;
  EXPECT_EQ(choose(config, {1, 1, 0, 0}).experts[0], 0);
  EXPECT_EQ(choose(config, {1, 1, 0, 0}, {0, 0, 0, 1}).experts[0], 3);
}

TEST(Router, EqualGroupsGoToTheLower) {
  RouterConfig config = sigmoid_config(6, 3);
  config.num_groups = 3;
  config.kept_groups = 2;
  EXPECT_EQ(choose(config, {0, 1, 1, 0, 0, 1}).experts, (std::vector<std::int64_t>{1, 2, 0}));
}

// A bias below zero makes corrected scores negative: still better than an expert of a lost group.
TEST(Router, LostGroupsAreNeverChosenFrom) {
  RouterConfig config = sigmoid_config(6, 3);
  config.num_groups = 2;
  const Choice choice = choose(config, {0, 1, 2, 0, 0, 0}, {-3, -3, -3, -4, -4, -4});
  EXPECT_EQ(choice.experts, (std::vector<std::int64_t>{2, 1, 0}));
}

TEST(Router, AgreesWithSortingOnRandomScores) {
  std::mt19937 random(11);
  std::uniform_int_distribution<int> coarse(-3, 3);  // many ties
  for (int round = 0; round < 500; ++round) {
    std::vector<float> logits(24);
    for (float& logit : logits) logit = static_cast<float>(coarse(random));
    std::vector<std::int64_t> order(24);
    for (std::size_t i = 0; i < order.size(); ++i) order[i] = static_cast<std::int64_t>(i);
    std::stable_sort(order.begin(), order.end(), [&](std::int64_t a, std::int64_t b) {
      return logits[static_cast<std::size_t>(a)] > logits[static_cast<std::size_t>(b)];
    });
    order.resize(7);
    ASSERT_EQ(choose(softmax_config(24, 7), logits).experts, order);
    ASSERT_EQ(choose(sigmoid_config(24, 7), logits).experts, order);
  }
}

TEST(Router, NamesALogitThatIsNotFinite) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const float inf = std::numeric_limits<float>::infinity();
  expect_error(ErrorCode::kInvalidArgument, {"token 0", "nan", "expert 2"}, [&] {
    choose(softmax_config(3, 1), {0, 0, nan});
  });
  expect_error(ErrorCode::kInvalidArgument, {"token 0", "inf", "expert 1"}, [&] {
    choose(sigmoid_config(3, 1), {0, inf, 0});
  });
}

TEST(Router, RefusesRulesThatCantRoute) {
  expect_error(ErrorCode::kInvalidArgument, {"top-k is 4", "3"},
               [] { validate(softmax_config(3, 4)); });
  expect_error(ErrorCode::kInvalidArgument, {"top-k is 0"}, [] { validate(softmax_config(3, 0)); });
  RouterConfig config = sigmoid_config(12, 4);
  config.num_groups = 5;
  expect_error(ErrorCode::kInvalidArgument, {"12", "5 groups"}, [&] { validate(config); });
  config.num_groups = 4;
  expect_error(ErrorCode::kInvalidArgument, {"top-k is 4", "3 to choose from"},
               [&] { validate(config); });
  config.kept_groups = 5;
  expect_error(ErrorCode::kInvalidArgument, {"5", "4 groups"}, [&] { validate(config); });
  config.kept_groups = 2;
  expect_error(ErrorCode::kInvalidArgument, {"bias", "3", "12"},
               [&] { RouterRule(config, std::vector<float>(3)); });
  expect_error(ErrorCode::kInvalidArgument, {"bias", "expert 0", "nan"}, [&] {
    RouterRule(config, std::vector<float>(12, std::numeric_limits<float>::quiet_NaN()));
  });
}

}  // namespace
}  // namespace braid::model
