// Splitting a batch in two: the published vectors, and what must hold for any.
#include <gtest/gtest.h>

#include <numeric>

#include "braid/two_batch.hpp"
#include "unit/schedule/listing.hpp"

namespace braid::test {
namespace {

TEST(Split, DecodeHalvesItsSequences) {
  EXPECT_EQ(split_decode(9, 1).sequence, 4);
  EXPECT_EQ(split_decode(9, 1).tokens, 4);
  EXPECT_EQ(split_decode(20, 4).sequence, 2);
  EXPECT_EQ(split_decode(20, 4).tokens, 8);
  EXPECT_EQ(split_decode(0, 1).tokens, 0);
  EXPECT_EQ(split_decode(1, 1).tokens, 0);
  says(refusal([] { split_decode(-1, 1); }), {"-1"});
  says(refusal([] { split_decode(8, 0); }), {"0", "at least 1"});
}

TEST(Split, ExtendBalancesAtABoundary) {
  EXPECT_EQ(split_extend({}).sequence, 0);
  EXPECT_EQ(split_extend({42}).sequence, 0);
  EXPECT_EQ(split_extend({42, 999}).sequence, 1);
  EXPECT_EQ(split_extend({4096, 4096, 4096, 4096}).sequence, 2);
  EXPECT_EQ(split_extend({1, 1, 1, 1, 99999}).sequence, 4);
  EXPECT_EQ(split_extend({99999, 1, 1, 1, 1}).sequence, 1);
  EXPECT_EQ(split_extend({4, 0, 4}).sequence, 2) << "the later of equal ones";
  EXPECT_EQ(split_extend({4096, 4096, 4096, 4096}).tokens, 8192);
  says(refusal([] { split_extend({3, -1}); }), {"sequence 1", "-1"});
}

TEST(Split, TwoChunksCutTheSequenceThatHoldsTheMiddle) {
  const BatchSplit split = split_extend_two_chunks({1, 1, 1, 1, 99999});
  EXPECT_EQ(split.sequence, 4);
  EXPECT_EQ(split.tokens, 50001);
  EXPECT_TRUE(split.cuts_sequence);
  EXPECT_EQ(split.prefix, 49997);

  const BatchSplit single = split_extend_two_chunks({42});
  EXPECT_EQ(single.sequence, 0);
  EXPECT_EQ(single.tokens, 21);
  EXPECT_EQ(single.prefix, 21);
}

TEST(Split, TwoChunksKeepABoundaryThatIsBalancedEnough) {
  const BatchSplit split = split_extend_two_chunks({480, 520});
  EXPECT_EQ(split.sequence, 1);
  EXPECT_FALSE(split.cuts_sequence);
  EXPECT_TRUE(split_extend_two_chunks({479, 521}).cuts_sequence);
  EXPECT_FALSE(split_extend_two_chunks({400, 600}, 0.4).cuts_sequence);
}

TEST(Split, TwoChunksFallBackWhereTheMiddleHasTooFewTokens) {
  EXPECT_FALSE(split_extend_two_chunks({1, 2}).cuts_sequence);
  EXPECT_EQ(split_extend_two_chunks({1, 2}).sequence, 1);
  EXPECT_EQ(split_extend_two_chunks({}).sequence, 0);
  EXPECT_EQ(split_extend_two_chunks({0, 0}).tokens, 0);
  says(refusal([] { split_extend_two_chunks({1, 2}, 0.6); }), {"threshold", "0.6", "0.5"});
}

TEST(Split, TwoChunksNeverLoseAToken) {
  std::vector<std::int64_t> lengths;
  for (std::int64_t i = 0; i < 40; ++i) {
    lengths.push_back(i * i * 7919 % 501);
    const BatchSplit split = split_extend_two_chunks(lengths);
    const auto sum =
        std::accumulate(lengths.begin(), lengths.begin() + split.sequence, std::int64_t{0});
    EXPECT_EQ(sum + split.prefix, split.tokens);
    if (split.cuts_sequence) {
      EXPECT_LT(split.prefix, lengths[static_cast<std::size_t>(split.sequence)]);
    }
  }
}

TEST(Padding, FillsUpToTheAttentionGroup) {
  const PaddedSizes sizes = padded_sizes(13, 6, 4);
  EXPECT_EQ(sizes.tokens[0], 6);
  EXPECT_EQ(sizes.tokens[1], 7);
  EXPECT_EQ(sizes.padded[0], 8);
  EXPECT_EQ(sizes.padded[1], 8);
  // Fewer tokens than where a captured batch was split.
  const PaddedSizes few = padded_sizes(3, 6, 4);
  EXPECT_EQ(few.tokens[0], 3);
  EXPECT_EQ(few.tokens[1], 0);
  EXPECT_EQ(few.padded[1], 0);
}

TEST(Agreement, NeedsAllRanksAndOneMode) {
  using Mode = ForwardMode;
  const auto wish = [](Mode mode) { return two_batch_wish(mode, ExpertPath::kLowLatency); };
  EXPECT_TRUE(agree_on_two_batches({wish(Mode::kDecode), wish(Mode::kIdle)}));
  EXPECT_FALSE(agree_on_two_batches({wish(Mode::kDecode), wish(Mode::kVerify)}));
  EXPECT_FALSE(agree_on_two_batches({wish(Mode::kDecode), wish(Mode::kExtend)}));
  EXPECT_FALSE(agree_on_two_batches({wish(Mode::kExtend)})) << "no room on the low-latency path";
  EXPECT_TRUE(agree_on_two_batches({two_batch_wish(Mode::kExtend, ExpertPath::kHighThroughput)}));
  EXPECT_FALSE(agree_on_two_batches({wish(Mode::kIdle), wish(Mode::kIdle)}));
  EXPECT_FALSE(agree_on_two_batches({{Mode::kDecode, true}, {Mode::kDecode, false}}));
  EXPECT_FALSE(agree_on_two_batches({}));
}

}  // namespace
}  // namespace braid::test
