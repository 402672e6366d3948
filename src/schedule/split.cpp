#include <algorithm>
#include <cstdlib>
#include <limits>
#include <numeric>

#include "base/check.hpp"
#include "base/math.hpp"
#include "braid/two_batch.hpp"

namespace braid {
namespace {

std::int64_t checked_sum(const std::vector<std::int64_t>& lengths) {
  std::int64_t sum = 0;
  for (std::size_t i = 0; i < lengths.size(); ++i) {
    require(lengths[i] >= 0, "sequence {} has {} tokens, but must have 0 or more", i, lengths[i]);
    sum += lengths[i];
  }
  return sum;
}

}  // namespace

BatchSplit split_decode(std::int64_t num_tokens, int tokens_per_sequence) {
  require(num_tokens >= 0, "the batch has {} tokens, but must have 0 or more", num_tokens);
  require(tokens_per_sequence >= 1, "a sequence has {} tokens, but must have at least 1",
          tokens_per_sequence);
  BatchSplit split;
  split.sequence = static_cast<int>(num_tokens / tokens_per_sequence / 2);
  split.tokens = std::int64_t{split.sequence} * tokens_per_sequence;
  return split;
}

BatchSplit split_extend(const std::vector<std::int64_t>& lengths) {
  const std::int64_t sum = checked_sum(lengths);
  BatchSplit split;
  std::int64_t left = 0;
  std::int64_t least = std::numeric_limits<std::int64_t>::max();
  for (std::size_t i = 1; i < lengths.size(); ++i) {
    left += lengths[i - 1];
    const std::int64_t difference = std::abs(left - (sum - left));
    if (difference > least) break;
    least = difference;
    split.sequence = static_cast<int>(i);
    split.tokens = left;
  }
  return split;
}

BatchSplit split_extend_two_chunks(const std::vector<std::int64_t>& lengths, double threshold) {
  require(threshold >= 0 && threshold <= 0.5, "threshold is {}, but must be from 0 to 0.5",
          threshold);
  const BatchSplit balanced = split_extend(lengths);
  const std::int64_t sum = checked_sum(lengths);
  const double left = static_cast<double>(balanced.tokens);
  const double least = threshold * static_cast<double>(sum);
  if (left >= least && left <= static_cast<double>(sum) - least) return balanced;
  BatchSplit split;
  split.tokens = sum / 2;
  std::int64_t before = 0;
  while (before + lengths[static_cast<std::size_t>(split.sequence)] <= split.tokens) {
    before += lengths[static_cast<std::size_t>(split.sequence++)];
  }
  if (split.sequence + 1 > split.tokens) return balanced;
  split.prefix = split.tokens - before;
  split.cuts_sequence = split.prefix > 0;
  return split;
}

PaddedSizes padded_sizes(std::int64_t num_tokens, std::int64_t split, int attention_ranks) {
  require(num_tokens >= 0 && split >= 0, "{} tokens split at {}, but both must be 0 or more",
          num_tokens, split);
  require(attention_ranks >= 1, "the attention group has {} ranks, but must have at least 1",
          attention_ranks);
  PaddedSizes sizes{};
  sizes.tokens[0] = std::min(split, num_tokens);
  sizes.tokens[1] = std::max<std::int64_t>(0, num_tokens - split);
  for (int i = 0; i < 2; ++i) {
    sizes.padded[i] = round_up<std::int64_t>(sizes.tokens[i], attention_ranks);
  }
  return sizes;
}

TwoBatchWish two_batch_wish(ForwardMode mode, ExpertPath path) {
  return {mode, mode != ForwardMode::kExtend || path != ExpertPath::kLowLatency};
}

bool agree_on_two_batches(const std::vector<TwoBatchWish>& wishes) {
  auto mode = ForwardMode::kIdle;
  for (const TwoBatchWish& wish : wishes) {
    if (!wish.can) return false;
    if (wish.mode == ForwardMode::kIdle) continue;
    if (mode != ForwardMode::kIdle && wish.mode != mode) return false;
    mode = wish.mode;
  }
  return mode != ForwardMode::kIdle;
}

}  // namespace braid
