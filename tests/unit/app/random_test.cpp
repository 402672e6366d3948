#include "app/random.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <set>
#include <string>

#include "braid/error.hpp"
#include "codec/bfloat16.hpp"
#include "support/safetensors_writer.hpp"
#include "support/temp_dir.hpp"

namespace braid::app {
namespace {

TEST(RandomTokens, HaveTheRootMeanSquareAskedForAndFollowTheSeed) {
  Random random(7, 1);
  const auto tokens = random_tokens(random, 64, 256, 0.5);
  double squares = 0;
  for (const std::uint16_t value : tokens) {
    squares += std::pow(static_cast<double>(codec::bf16_to_float(value)), 2);
  }
  EXPECT_NEAR(std::sqrt(squares / static_cast<double>(tokens.size())), 0.5, 0.01);

  Random same(7, 1), other_seed(8, 1), other_stream(7, 2);
  EXPECT_EQ(random_tokens(same, 64, 256, 0.5), tokens);
  EXPECT_NE(random_tokens(other_seed, 64, 256, 0.5), tokens);
  EXPECT_NE(random_tokens(other_stream, 64, 256, 0.5), tokens);
}

TEST(RandomTokens, AreTheSameHoweverManyThreadsDrawThem) {
  constexpr std::int64_t kTokens = 520;
  constexpr int kHidden = 8192;  // enough for four threads
  Random drawn(3, 4), expected(3, 4);
  const auto tokens = random_tokens(drawn, kTokens, kHidden, 0.5);
  std::size_t different = 0;
  for (const std::uint16_t token : tokens) {
    if (token != codec::float_to_bf16(static_cast<float>(0.5 * expected.normal()))) ++different;
  }
  EXPECT_EQ(different, 0U);
  EXPECT_EQ(drawn.next(), expected.next());
}

TEST(RandomRouting, NamesDifferentExpertsWithWeightsThatSumToOne) {
  for (const Popularity popularity : {Popularity::kUniform, Popularity::kZipf}) {
    const Routing routing = random_routing(popularity, 16, 8, 100, 3, 0);
    ASSERT_EQ(routing.topk_idx.size(), 800U);
    for (std::size_t token = 0; token < 100; ++token) {
      std::set<std::int64_t> named;
      double sum = 0;
      for (std::size_t i = token * 8; i < token * 8 + 8; ++i) {
        EXPECT_GE(routing.topk_idx[i], 0);
        EXPECT_LT(routing.topk_idx[i], 16);
        named.insert(routing.topk_idx[i]);
        EXPECT_GT(routing.topk_weights[i], 0.0F);
        sum += routing.topk_weights[i];
      }
      EXPECT_EQ(named.size(), 8U);
      EXPECT_NEAR(sum, 1.0, 1e-5);
    }
  }
}

// The most and the least named expert's share of all routes.
std::pair<int, int> extremes(Popularity popularity) {
  std::vector<int> counts(64, 0);
  for (int rank = 0; rank < 4; ++rank) {
    for (const std::int64_t e : random_routing(popularity, 64, 4, 1000, 5, rank).topk_idx) {
      ++counts[static_cast<std::size_t>(e)];
    }
  }
  const auto [least, most] = std::minmax_element(counts.begin(), counts.end());
  return {*least, *most};
}

TEST(RandomRouting, ZipfFavorsTheSameExpertOnEveryRankAndUniformNone) {
  const auto [uniform_least, uniform_most] = extremes(Popularity::kUniform);
  EXPECT_LT(uniform_most, 2 * uniform_least);
  const auto [zipf_least, zipf_most] = extremes(Popularity::kZipf);
  EXPECT_GT(zipf_most, 10 * zipf_least);
}

TEST(RecordedRouting, IsReplayedInTurnAndGoesRound) {
  const test::TempDir folder;
  const auto file = folder / "routing.safetensors";
  test::write_safetensors(
      file, {test::make_tensor<std::int32_t>("topk_idx", "I32", {3, 2}, {0, 1, 2, -1, 4, 5})});
  const RecordedRouting recorded = read_routing(file.string(), 6);
  EXPECT_EQ(recorded.top_k, 2);
  EXPECT_EQ(replay(recorded, 2, 1, 0).topk_idx, (std::vector<std::int64_t>{0, 1, 2, -1}));
  EXPECT_EQ(replay(recorded, 2, 1, 1).topk_idx, (std::vector<std::int64_t>{4, 5, 0, 1}));
}

TEST(RecordedRouting, WeightsCountRoutesOnly) {
  Random random(1);
  const auto weights = random_weights(random, {3, -1, -1, -1}, 2);
  EXPECT_FLOAT_EQ(weights[0], 1.0F);
}

TEST(RecordedRouting, RefusesWhatIsNoRouting) {
  const test::TempDir folder;
  const auto file = (folder / "routing.safetensors").string();
  const auto refusal = [&](const test::StoredTensor& tensor) -> std::string {
    test::write_safetensors(file, {tensor});
    try {
      read_routing(file, 4);
    } catch (const Error& error) {
      return error.what();
    }
    return "accepted";
  };
  EXPECT_EQ(refusal(test::make_tensor<std::int64_t>("topk_idx", "I64", {2, 2}, {0, 1, 2, 4})),
            file + ": topk_idx of token 1 names expert 4, but must be from 0 to 3, or -1");
  EXPECT_NE(refusal(test::make_tensor<float>("topk_idx", "F32", {1, 2}, {0, 1}))
                .find("must be I32 or I64"),
            std::string::npos);
  EXPECT_NE(refusal(test::make_tensor<std::int64_t>("topk_idx", "I64", {4}, {0, 1, 2, 3}))
                .find("[tokens, top-k]"),
            std::string::npos);
  EXPECT_NE(refusal(test::make_tensor<std::int64_t>("other", "I64", {1, 1}, {0})).find("topk_idx"),
            std::string::npos);
}

}  // namespace
}  // namespace braid::app
