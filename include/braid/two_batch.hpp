// How a batch becomes two micro-batches: where to split it, how far to pad the halves, and whether
// all ranks do it. Pure functions; two_batch_overlap() of overlap.hpp orders the work, moe.hpp asks
// the ranks.
//
// They throw kInvalidArgument for what can't be a batch: negative lengths, a threshold out of
// range.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "braid/tensor.hpp"

namespace braid {

enum class ForwardMode : std::uint8_t {
  kIdle,    // no tokens, but a part in every collective call
  kExtend,  // prefill: sequences of any length
  kDecode,
  kVerify,  // of drafted tokens: as decode, several tokens a sequence
};

struct BatchSplit {
  int sequence = 0;         // sequences [0, sequence) are micro-batch 0's
  std::int64_t tokens = 0;  // of micro-batch 0
  // That the first sequence of micro-batch 1 is the last one of micro-batch 0, cut in two: its
  // first `prefix` tokens are micro-batch 0's and become prefix for micro-batch 1.
  bool cuts_sequence = false;
  std::int64_t prefix = 0;
};

// Decode and verify: half of the sequences, rounded down, and their tokens.
BatchSplit split_decode(std::int64_t num_tokens, int tokens_per_sequence);

// Extend: the boundary between sequences with the least difference between both sides; among equal
// ones the later; looking stops once it gets worse. No sequence or one: 0, so nothing is split.
BatchSplit split_extend(const std::vector<std::int64_t>& lengths);

// The same, but where either side would have less than `threshold` (at most 0.5) of all tokens, the
// sequence that holds the middle is cut there. If that leaves micro-batch 1 too little to hold its
// sequences, the boundary stays.
BatchSplit split_extend_two_chunks(const std::vector<std::int64_t>& lengths,
                                   double threshold = 0.48);

struct PaddedSizes {
  std::int64_t tokens[2];  // of each micro-batch, without padding
  std::int64_t padded[2];  // up to a multiple of the attention group
};
// num_tokens may be less than where the batch was split: micro-batch 1 is then empty.
PaddedSizes padded_sizes(std::int64_t num_tokens, std::int64_t split, int attention_ranks);

// Rows in the host's memory, [n, ...] of one type: copies each micro-batch's from `whole`, one
// behind the other, and sets the padding to zero. parts: [padded, ...].
void split_rows(const Tensor& whole, const PaddedSizes& sizes, const std::array<Tensor, 2>& parts);
// The reverse: without the padding. Rows of `whole` behind both micro-batches' are set to zero.
void merge_rows(const std::array<Tensor, 2>& parts, const PaddedSizes& sizes, const Tensor& whole);

// One rank's wish.
struct TwoBatchWish {
  ForwardMode mode = ForwardMode::kIdle;
  bool can = false;  // its batch can be split
};
// How its experts are reached.
enum class ExpertPath : std::uint8_t { kLowLatency, kHighThroughput };
// What a rank may wish: anything but extend over the low-latency path, which has no room for it.
TwoBatchWish two_batch_wish(ForwardMode mode, ExpertPath path);

// Whether all do: every rank can, and those that aren't idle are in the same mode. False where all
// are idle.
bool agree_on_two_batches(const std::vector<TwoBatchWish>& wishes);

}  // namespace braid
