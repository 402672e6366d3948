// That a run's check sees wrong results: an output of zeros, experts in each other's place, a
// route that got lost, a NaN.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <limits>
#include <utility>

#include "app/layer_case.hpp"
#include "app/limits.hpp"
#include "app/run.hpp"
#include "codec/bfloat16.hpp"
#include "model/reference.hpp"

namespace braid::app {
namespace {

const std::filesystem::path kData(BRAID_TEST_DATA);

class Verify : public testing::TestWithParam<const char*> {
 protected:
  Verify() {
    options_.layer = (kData / GetParam()).string();
    options_.communication.ranks = 1;
    options_.communication.dispatch = DispatchFormat::kBf16;
    case_ = load_case(options_);
  }

  // A one-rank result with this output.
  std::vector<RankResult> result_of(const std::vector<float>& output) const {
    RankResult result;
    result.times.resize(1);
    result.num_operations = 1;
    result.tokens_per_expert.resize(32);
    std::vector<std::uint16_t> rounded(output.size());
    std::transform(output.begin(), output.end(), rounded.begin(), codec::float_to_bf16);
    result.output.assign(reinterpret_cast<const char*>(rounded.data()), 2 * rounded.size());
    return {result};
  }

  bool verified(const std::vector<float>& output) const {
    return make_report(options_, case_, result_of(output)).verified;
  }

  std::vector<float> dense(const model::MoeLayer& layer,
                           const model::ReferenceOptions& options = {}) const {
    return model::compute_reference(layer, case_.hidden_states.data(), case_.num_tokens, options);
  }

  RunOptions options_;
  LayerCase case_;
};

TEST_P(Verify, TheRightOutputHoldsAndItsReferenceIsNamed) {
  const RunReport report = make_report(options_, case_, result_of(dense(case_.layer)));
  EXPECT_TRUE(report.verified);
  EXPECT_EQ(report.reference, "transformers");
  ASSERT_EQ(report.comparisons.size(), 1U);
  EXPECT_EQ(report.comparisons[0].limit, 1e-5);
}

TEST_P(Verify, AnAllZeroOutputFails) {
  EXPECT_FALSE(verified(std::vector<float>(case_.expected.size(), 0.0F)));
}

TEST_P(Verify, TwoSwappedExpertsFail) {
  model::MoeLayer swapped = case_.layer;
  std::swap(swapped.experts[3], swapped.experts[4]);
  EXPECT_FALSE(verified(dense(swapped)));
}

TEST_P(Verify, OneDroppedRouteFails) {
  model::Routes routes = model::route(case_.layer, case_.hidden_states.data(), case_.num_tokens);
  // The least weight of one token in the middle: the smallest loss that a dropped row can be.
  routes.topk_idx[static_cast<std::size_t>(40 * routes.top_k + routes.top_k - 1)] = -1;
  model::ReferenceOptions without;
  without.routes = &routes;
  EXPECT_FALSE(verified(dense(case_.layer, without)));
}

TEST_P(Verify, OneValueThatIsNotANumberFails) {
  std::vector<float> output = dense(case_.layer);
  output[1000] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_FALSE(verified(output));
}

TEST_P(Verify, RepeatsWithOtherBitsFail) {
  auto results = result_of(dense(case_.layer));
  results[0].repeats_equal = false;
  EXPECT_FALSE(make_report(options_, case_, results).verified);
}

TEST_P(Verify, Fp8IsHeldAgainstTheTokensAsTheCodecRoundsThemToo) {
  options_.communication.dispatch = DispatchFormat::kFp8;
  model::ReferenceOptions rounded;
  rounded.round_row = [](const std::uint16_t* row, std::int64_t hidden, float* seen) {
    round_row(DispatchFormat::kFp8, row, static_cast<int>(hidden), seen);
  };
  const RunReport right = make_report(options_, case_, result_of(dense(case_.layer, rounded)));
  EXPECT_TRUE(right.verified);
  ASSERT_EQ(right.comparisons.size(), 2U);
  EXPECT_EQ(right.comparisons[0].limit, 2e-3);
  EXPECT_EQ(right.comparisons[1].limit, 1e-5);
  // What never went through FP8 is close to the first reference and not what FP8 should give.
  const RunReport unrounded = make_report(options_, case_, result_of(dense(case_.layer)));
  EXPECT_TRUE(unrounded.comparisons[0].holds());
  EXPECT_FALSE(unrounded.verified);
}

INSTANTIATE_TEST_SUITE_P(Data, Verify, testing::Values("qwen3_moe_layer", "deepseek_v3_layer"));

TEST(Comparison, NotANumberNeverHolds) {
  EXPECT_FALSE((Comparison{"x", NAN, 1.0}.holds()));
  EXPECT_FALSE((Comparison{"x", INFINITY, 1.0}.holds()));
  EXPECT_TRUE((Comparison{"x", -1e-17, 1e-5}.holds()));
  EXPECT_FALSE(all_hold({}));
}

TEST(Limits, LogFmtAddsItsAllowanceToEach) {
  CommunicationOptions options;
  options.combine = CombineFormat::kLogFmt10;
  EXPECT_DOUBLE_EQ(reference_limit(options, kFfnFp8Limit), 2.2e-3);
  EXPECT_DOUBLE_EQ(rounded_limit(options), 2.1e-4);
  options.dispatch = DispatchFormat::kBf16;
  EXPECT_DOUBLE_EQ(reference_limit(options, kFfnFp8Limit), 2.1e-4);
}

}  // namespace
}  // namespace braid::app
