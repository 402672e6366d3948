#include "model/reference.hpp"

#include <algorithm>
#include <cmath>

#include "codec/bfloat16.hpp"
#include "codec/e4m3.hpp"
#include "model/compare.hpp"
#include "model/samples.hpp"
#include "model_test.hpp"
#include "support/fp8_checkpoint.hpp"

namespace braid::model {
namespace {

using test::expect_error;

constexpr double kLimit = 1e-5;  // what a BF16 run is held to

struct Fixture {
  explicit Fixture(const std::filesystem::path& directory)
      : layer(load_layer(directory)), samples(load_samples(directory, layer.config)) {}

  std::vector<float> run(const ReferenceOptions& options = {}) const {
    return compute_reference(layer, samples.hidden_states.data(), samples.num_tokens, options);
  }
  Routes routes() const { return route(layer, samples.hidden_states.data(), samples.num_tokens); }

  MoeLayer layer;
  Samples samples;
};

class BothLayers : public ::testing::TestWithParam<const char*> {
 protected:
  Fixture fixture_{test::data(GetParam())};
};

INSTANTIATE_TEST_SUITE_P(Reference, BothLayers,
                         ::testing::Values("qwen3_moe_layer", "deepseek_v3_layer"));

double rms(const std::vector<float>& values) {
  double sum = 0;
  for (const float value : values) sum += static_cast<double>(value) * value;
  return std::sqrt(sum / static_cast<double>(values.size()));
}

TEST_P(BothLayers, EqualsWhatTransformersComputed) {
  const std::vector<float> output = fixture_.run();
  EXPECT_LE(diff(output, fixture_.samples.expected), 1e-6);
  // Float32 on both sides: the limit above leaves much room, this one doesn't.
  EXPECT_LE(diff(output, fixture_.samples.expected), 1e-11);
}

TEST_P(BothLayers, ExpectedOutputIsLargeEnoughToCompare) {
  EXPECT_GE(fixture_.samples.num_tokens, 64);
  EXPECT_GE(rms(fixture_.samples.expected), 0.1);
  std::vector<float> inputs(fixture_.samples.hidden_states.size());
  std::transform(fixture_.samples.hidden_states.begin(), fixture_.samples.hidden_states.end(),
                 inputs.begin(), codec::bf16_to_float);
  EXPECT_NEAR(rms(inputs), 1.0, 0.1);
}

TEST_P(BothLayers, AnAllZeroOutputFails) {
  const std::vector<float> zeros(fixture_.samples.expected.size(), 0.0F);
  EXPECT_FALSE(diff(zeros, fixture_.samples.expected) <= kLimit);
}

TEST_P(BothLayers, TwoSwappedExpertsFail) {
  MoeLayer swapped = fixture_.layer;
  std::swap(swapped.experts[4], swapped.experts[5]);
  const std::vector<float> output =
      compute_reference(swapped, fixture_.samples.hidden_states.data(), 96);
  EXPECT_FALSE(diff(output, fixture_.samples.expected) <= kLimit);
}

TEST_P(BothLayers, ADroppedRouteFails) {
  Routes routes = fixture_.routes();
  routes.topk_idx[8 * 50 + 3] = -1;
  const std::vector<float> output = fixture_.run({.routes = &routes});
  EXPECT_FALSE(diff(output, fixture_.samples.expected) <= kLimit);
}

// What the routes that `keep` holds for (by token's choice and expert) add to the output.
template <class Keep>
std::vector<float> contribution(const MoeLayer& layer, const Fixture& fixture, const Keep& keep) {
  MoeLayer routed = layer;
  routed.shared.reset();
  Routes routes = fixture.routes();
  for (std::size_t at = 0; at < routes.topk_idx.size(); ++at) {
    if (!keep(at % 8, routes.topk_idx[at])) routes.topk_idx[at] = -1;
  }
  return compute_reference(routed, fixture.samples.hidden_states.data(), 96, {.routes = &routes});
}

// The rarely chosen and alike ones too: only the pair's own routes are computed anew.
TEST_P(BothLayers, AnyTwoNeighboringExpertsSwappedFail) {
  for (std::size_t expert = 0; expert + 1 < 32; ++expert) {
    const auto of_pair = [&](std::size_t, std::int64_t chosen) {
      return chosen == static_cast<std::int64_t>(expert) ||
             chosen == static_cast<std::int64_t>(expert) + 1;
    };
    MoeLayer swapped = fixture_.layer;
    std::swap(swapped.experts[expert], swapped.experts[expert + 1]);
    const std::vector<float> right = contribution(fixture_.layer, fixture_, of_pair);
    const std::vector<float> wrong = contribution(swapped, fixture_, of_pair);
    std::vector<float> output = fixture_.samples.expected;
    for (std::size_t i = 0; i < output.size(); ++i) output[i] += wrong[i] - right[i];
    EXPECT_FALSE(diff(output, fixture_.samples.expected) <= kLimit) << "expert " << expert;
  }
}

// The lightest too: what a choice adds is computed for all tokens at once and taken from one token
// at a time.
TEST_P(BothLayers, AnyOneDroppedRouteFails) {
  for (std::size_t dropped = 0; dropped < 8; ++dropped) {
    const std::vector<float> lost =
        contribution(fixture_.layer, fixture_,
                     [&](std::size_t choice, std::int64_t) { return choice == dropped; });
    for (std::size_t token = 0; token < 96; ++token) {
      std::vector<float> output = fixture_.samples.expected;
      for (std::size_t i = token * 256; i < (token + 1) * 256; ++i) output[i] -= lost[i];
      EXPECT_FALSE(diff(output, fixture_.samples.expected) <= kLimit)
          << "token " << token << ", choice " << dropped;
    }
  }
}

TEST_P(BothLayers, BitsDontDependOnThreadsOrOnOtherTokens) {
  const std::vector<float> output = fixture_.run({.num_threads = 1});
  EXPECT_EQ(fixture_.run({.num_threads = 3}), output);
  const std::int64_t first = 37;
  const std::vector<float> some =
      compute_reference(fixture_.layer, fixture_.samples.hidden_states.data() + first * 256, 21);
  EXPECT_TRUE(std::equal(some.begin(), some.end(), output.begin() + first * 256));
}

TEST_P(BothLayers, TheRoutersOwnRoutesGivenChangeNothing) {
  const Routes routes = fixture_.routes();
  EXPECT_EQ(fixture_.run({.routes = &routes}), fixture_.run());
}

TEST_P(BothLayers, NoRoutesLeaveTheSharedExpert) {
  Routes routes = fixture_.routes();
  routes.topk_idx.assign(routes.topk_idx.size(), -1);
  routes.topk_weights.assign(routes.topk_weights.size(), std::nanf(""));
  const std::vector<float> output = fixture_.run({.routes = &routes});
  EXPECT_EQ(rms(output) > 0, fixture_.layer.shared.has_value());
}

TEST(Reference, ARepeatedExpertCountsOncePerNaming) {
  const Fixture fixture(test::qwen3_moe());
  Routes twice{.num_tokens = 1, .top_k = 2, .topk_idx = {5, 5}, .topk_weights = {0.25F, 0.5F}};
  Routes once{.num_tokens = 1, .top_k = 2, .topk_idx = {-1, 5}, .topk_weights = {9, 0.75F}};
  const std::uint16_t* token = fixture.samples.hidden_states.data();
  const std::vector<float> a = compute_reference(fixture.layer, token, 1, {.routes = &twice});
  const std::vector<float> b = compute_reference(fixture.layer, token, 1, {.routes = &once});
  EXPECT_GT(rms(a), 0.01);
  EXPECT_LE(diff(a, b), 1e-12);
}

TEST(Reference, OneExpertIsTheFormulaWrittenOut) {
  const Fixture fixture(test::qwen3_moe());
  const ExpertWeights& expert = fixture.layer.experts[17];
  const auto weight = [](const WeightView& view, std::int64_t row, std::int64_t col) {
    return static_cast<double>(
        codec::bf16_to_float(static_cast<const std::uint16_t*>(view.data)[row * view.cols + col]));
  };
  const std::uint16_t* token = fixture.samples.hidden_states.data() + 3 * 256;
  std::vector<double> inner(64);
  for (std::int64_t channel = 0; channel < 64; ++channel) {
    double gate = 0;
    double up = 0;
    for (std::int64_t i = 0; i < 256; ++i) {
      gate += weight(expert.gate, channel, i) * codec::bf16_to_float(token[i]);
      up += weight(expert.up, channel, i) * codec::bf16_to_float(token[i]);
    }
    inner[static_cast<std::size_t>(channel)] = gate / (1 + std::exp(-gate)) * up;
  }
  std::vector<float> expected(256);
  for (std::int64_t channel = 0; channel < 256; ++channel) {
    double sum = 0;
    for (std::int64_t i = 0; i < 64; ++i) {
      sum += weight(expert.down, channel, i) * inner[static_cast<std::size_t>(i)];
    }
    expected[static_cast<std::size_t>(channel)] = static_cast<float>(0.5 * sum);
  }
  Routes routes{.num_tokens = 1, .top_k = 1, .topk_idx = {17}, .topk_weights = {0.5F}};
  EXPECT_LE(diff(compute_reference(fixture.layer, token, 1, {.routes = &routes}), expected), 1e-12);
}

TEST(Reference, RoundingReachesTheRoutedExpertsOnly) {
  const Fixture fixture(test::deepseek_v3());
  const auto to_zero = [](const std::uint16_t*, std::int64_t hidden, float* seen) {
    std::fill(seen, seen + hidden, 0.0F);
  };
  Routes none = fixture.routes();
  none.topk_idx.assign(none.topk_idx.size(), -1);
  EXPECT_EQ(fixture.run({.round_row = to_zero}), fixture.run({.routes = &none}));

  // Routes stay those of the row itself: the same as with routes given.
  const auto to_e4m3 = [](const std::uint16_t* row, std::int64_t hidden, float* seen) {
    for (std::int64_t i = 0; i < hidden; ++i) {
      seen[i] = codec::e4m3_to_float(codec::float_to_e4m3(codec::bf16_to_float(row[i])));
    }
  };
  const Routes routes = fixture.routes();
  const std::vector<float> rounded = fixture.run({.round_row = to_e4m3});
  EXPECT_EQ(fixture.run({.round_row = to_e4m3, .routes = &routes}), rounded);
  const double error = diff(rounded, fixture.samples.expected);
  EXPECT_GT(error, 1e-5);
  EXPECT_LT(error, 5e-3);
}

// The scales and codes of the FP8 copy, turned back into BF16-free float32 weights, give the same.
TEST(Reference, Fp8WeightsAreCodesTimesTheirBlocksScale) {
  const test::TempDir folder;
  test::write_fp8_copy(test::deepseek_v3(), folder.path());
  const Fixture fp8(folder.path());
  ASSERT_TRUE(fp8.samples.expected.empty());
  std::vector<std::vector<float>> storage;
  MoeLayer decoded = fp8.layer;
  const auto decode = [&](WeightView& view) {
    const auto* codes = static_cast<const std::uint8_t*>(view.data);
    std::vector<float>& values = storage.emplace_back();
    for (std::int64_t row = 0; row < view.rows; ++row) {
      for (std::int64_t col = 0; col < view.cols; ++col) {
        const std::int64_t block = row / 128 * ((view.cols + 127) / 128) + col / 128;
        values.push_back(codec::e4m3_to_float(codes[row * view.cols + col]) *
                         view.block_scales[block]);
      }
    }
    view.data = values.data();
    view.dtype = DType::kFloat32;
    view.block_scales = nullptr;
  };
  decoded.experts.push_back(*decoded.shared);
  for (ExpertWeights& expert : decoded.experts) {
    decode(expert.gate);
    decode(expert.up);
    decode(expert.down);
  }
  decoded.shared = decoded.experts.back();
  decoded.experts.pop_back();
  const std::vector<float> output = fp8.run();
  EXPECT_EQ(compute_reference(decoded, fp8.samples.hidden_states.data(), 96), output);

  const Fixture original(test::deepseek_v3());
  const double error = diff(output, original.samples.expected);
  EXPECT_GT(error, 1e-5);
  EXPECT_LT(error, 5e-3);
}

TEST(Reference, NamesRoutesThatDontFit) {
  const Fixture fixture(test::qwen3_moe());
  Routes routes = fixture.routes();
  routes.topk_idx[8 * 5 + 2] = 32;
  expect_error(ErrorCode::kInvalidArgument, {"token 5", "32", "31"},
               [&] { fixture.run({.routes = &routes}); });
  routes.topk_idx[8 * 5 + 2] = -2;
  expect_error(ErrorCode::kInvalidArgument, {"token 5", "-2"},
               [&] { fixture.run({.routes = &routes}); });
  routes = fixture.routes();
  routes.num_tokens = 95;
  expect_error(ErrorCode::kInvalidArgument, {"95", "96"},
               [&] { fixture.run({.routes = &routes}); });
}

TEST(Samples, MustFitTheLayer) {
  const Fixture fixture(test::qwen3_moe());
  const test::TempDir folder;
  EXPECT_FALSE(has_samples(folder.path()));
  EXPECT_TRUE(has_samples(test::qwen3_moe()));
  expect_error(ErrorCode::kMissing, {"inputs.safetensors"},
               [&] { load_samples(folder.path(), fixture.layer.config); });
  const auto write = [&](const char* dtype, std::vector<std::int64_t> shape) {
    test::write_safetensors(folder / "inputs.safetensors",
                            {test::make_tensor("hidden_states", dtype, std::move(shape),
                                               std::vector<std::uint16_t>(2 * 256))});
  };
  write("BF16", {4, 128});
  expect_error(ErrorCode::kFormat, {"hidden_states", "[4, 128]", "[4, 256]"},
               [&] { load_samples(folder.path(), fixture.layer.config); });
  write("F16", {2, 256});
  expect_error(ErrorCode::kFormat, {"hidden_states", "F16 [2, 256]", "bf16"},
               [&] { load_samples(folder.path(), fixture.layer.config); });
  write("BF16", {2, 256});
  const Samples samples = load_samples(folder.path(), fixture.layer.config);
  EXPECT_EQ(samples.num_tokens, 2);
  EXPECT_TRUE(samples.expected.empty());
  std::filesystem::copy(test::qwen3_moe() / "expected.safetensors",
                        folder / "expected.safetensors");
  expect_error(ErrorCode::kFormat, {"output", "[96, 256]", "[2, 256]"},
               [&] { load_samples(folder.path(), fixture.layer.config); });
}

}  // namespace
}  // namespace braid::model
