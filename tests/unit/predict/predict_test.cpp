// What a prediction says of overlap.
#include <gtest/gtest.h>

#include "unit/predict/cases.hpp"

namespace braid::test {
namespace {

using predict::Prediction;
using predict::Question;

Question question(const Schedule& schedule, int rounds) {
  Question question;
  question.layer.device = load_hardware_profile("h20");
  question.layer.protocol = load_protocol_profile("deepep_v1");
  question.layer.shape = load_model_shape("deepseek-v3");
  auto rules = rules_of(question.layer, {16, 8}, rounds);
  rules.fan_out = FanOut::kPerExpert;
  const Routed routed = Routed::random(rules, 128, 8);
  question.schedule = schedule;
  question.traffic = {routed.traffic(rules)};
  rules.experts.num_rounds = 1;
  question.whole = {routed.traffic(rules)};
  question.sequential = sequential({.device_sms = 78, .shared_expert = true});
  return question;
}

TEST(Predict, SequentialHidesNothing) {
  const LayerParts parts{.device_sms = 78, .shared_expert = true};
  const Prediction prediction = predict::predict(question(sequential(parts), 1));
  EXPECT_DOUBLE_EQ(prediction.speedup, 1);
  EXPECT_DOUBLE_EQ(prediction.total_us, prediction.sequential_us);
  EXPECT_DOUBLE_EQ(prediction.hidden_fraction, 0);
  EXPECT_NEAR(prediction.dispatch_us + prediction.experts_us + prediction.combine_us,
              prediction.total_us, 0.25 * prediction.total_us)
      << "gate and shared expert are the rest";
}

TEST(Predict, NoMethodBeatsTheBound) {
  const LayerParts parts{.device_sms = 78, .shared_expert = true};
  std::vector<std::pair<Schedule, int>> schedules = {
      {single_batch_overlap({.parts = parts, .comm_sms = 8}), 1}};
  for (const int method : {1, 2, 3, 4}) {
    schedules.emplace_back(
        per_expert_overlap(
            {.parts = parts, .method = method, .rounds = 4, .send_sms = 4, .receive_sms = 4}),
        4);
  }
  for (const auto& [schedule, rounds] : schedules) {
    const Prediction prediction = predict::predict(question(schedule, rounds));
    EXPECT_GT(prediction.speedup, 1) << schedule.name;
    EXPECT_LT(prediction.speedup, prediction.bound_speedup) << schedule.name;
    EXPECT_GT(prediction.hidden_fraction, 0) << schedule.name;
    EXPECT_LT(prediction.hidden_fraction, 1) << schedule.name;
  }
}

}  // namespace
}  // namespace braid::test
