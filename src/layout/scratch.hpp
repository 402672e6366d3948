// A worker's shared memory, role by role. A launch takes the largest of them.
#pragma once

#include <cstdint>

#include "layout/map.hpp"
#include "layout/routes.hpp"
#include "layout/throughput.hpp"

namespace braid::layout {

namespace detail {
BRAID_HD constexpr std::int64_t after(std::int64_t at, std::int64_t bytes) {
  return round_up(at + bytes, kRowAlignment);
}
}  // namespace detail

// Whose plans are kept: the token that is planned, the one that is sent, the one on its way.
inline constexpr int kPlannedTokens = 3;

struct DispatchSendScratch {
  std::int64_t before = 0;    // RouteCounts of the tokens before this worker's
  std::int64_t total = 0;     // RouteCounts of all tokens
  std::int64_t experts = 0;   // [k] i32: of the token that is planned next
  std::int64_t weights = 0;   // [k] f32
  std::int64_t plans = 0;     // [kPlannedTokens][k] ChoicePlan
  std::int64_t messages = 0;  // [k] of header and k placements: by the choice that leads it
  std::int64_t words = 0;     // [Le + G] Word
  std::int64_t message_bytes = 0;
  std::int64_t bytes = 0;

  BRAID_HD static constexpr DispatchSendScratch of(const ExpertMap& experts, int k) {
    DispatchSendScratch scratch;
    const std::int64_t counts = RouteCounts::size(experts) * 4;
    scratch.total = detail::after(0, counts);
    scratch.experts = detail::after(scratch.total, counts);
    scratch.weights = detail::after(scratch.experts, k * std::int64_t{4});
    scratch.plans = detail::after(scratch.weights, k * std::int64_t{4});
    scratch.messages = detail::after(
        scratch.plans, kPlannedTokens * k * static_cast<std::int64_t>(sizeof(ChoicePlan)));
    scratch.message_bytes = static_cast<std::int64_t>(sizeof(MessageHeader)) +
                            k * static_cast<std::int64_t>(sizeof(Placement));
    scratch.words = scratch.messages + k * scratch.message_bytes;
    scratch.bytes = detail::after(
        scratch.words, (experts.num_local() + std::int64_t{experts.num_rounds}) * kWordBytes);
    return scratch;
  }
};

// Beside the send's: a worker may begin to receive while one of its warps still sends.
struct DispatchReceiveScratch {
  std::int64_t first_rows = 0;  // [R][Le/G] u32: where a source's rows of an expert begin
  std::int64_t messages = 0;    // [R] u32: a source's messages up to this round
  std::int64_t bytes = 0;

  BRAID_HD static constexpr DispatchReceiveScratch of(const ExpertMap& experts, int k) {
    DispatchReceiveScratch scratch;
    scratch.first_rows = DispatchSendScratch::of(experts, k).bytes;
    scratch.messages = detail::after(scratch.first_rows,
                                     std::int64_t{experts.num_ranks} * experts.per_round() * 4);
    scratch.bytes = detail::after(scratch.messages, experts.num_ranks * std::int64_t{4});
    return scratch;
  }
};

// The rows of one sum; combine's send at the expert rank and its receive.
struct SumScratch {
  std::int64_t rows = 0;     // [k] pointers
  std::int64_t weights = 0;  // [k] f32
  std::int64_t experts = 0;  // [k] i32
  std::int64_t count = 0;    // u32 rows, u32 slot
  std::int64_t bytes = 0;

  BRAID_HD static constexpr SumScratch of(int k) {
    SumScratch scratch;
    scratch.weights = detail::after(0, k * std::int64_t{8});
    scratch.experts = detail::after(scratch.weights, k * std::int64_t{4});
    scratch.count = detail::after(scratch.experts, k * std::int64_t{4});
    scratch.bytes = detail::after(scratch.count, 8);
    return scratch;
  }
};

BRAID_HD constexpr std::int64_t scratch_bytes(const ExpertMap& experts, int k) {
  return max_of(DispatchReceiveScratch::of(experts, k).bytes, SumScratch::of(k).bytes);
}

// The layout of high throughput: the worker's sums, then each warp's running places and the ranks
// of a chunk's tokens, a bit each.
struct ThroughputLayoutScratch {
  std::int64_t first_own = 0;      // [R] u32: where this rank's rows begin at each rank
  std::int64_t from = 0;           // [R] u32: rows from each source
  std::int64_t row_starts = 0;     // [R + 1] u32
  std::int64_t tokens = 0;         // [R] u32: of each source
  std::int64_t expert_rows = 0;    // expanded: [Le] u32
  std::int64_t expert_starts = 0;  // expanded: [Le + 1] u32
  std::int64_t warps = 0;
  std::int64_t masks = 0;  // within a warp's: [kChunkTokens][mask_words] u32, behind [R + 1] u32
  std::int64_t rows = 0;   // expanded: [kChunkTokens] u32
  std::int64_t next_places = 0;  // expanded: [Le] u32
  std::int64_t warp_bytes = 0;
  int mask_words = 0;

  BRAID_HD static constexpr ThroughputLayoutScratch of(const ThroughputShape& shape) {
    ThroughputLayoutScratch scratch;
    const std::int64_t ranks = std::int64_t{4} * shape.num_ranks;
    const std::int64_t experts = shape.expanded ? std::int64_t{4} * shape.num_local() : 0;
    scratch.mask_words = ceil_div(shape.num_ranks, 32);
    scratch.from = detail::after(0, ranks);
    scratch.row_starts = detail::after(scratch.from, ranks);
    scratch.tokens = detail::after(scratch.row_starts, ranks + 4);
    scratch.expert_rows = detail::after(scratch.tokens, ranks);
    scratch.expert_starts = detail::after(scratch.expert_rows, experts);
    scratch.warps = detail::after(scratch.expert_starts, experts + 4);
    scratch.masks = detail::after(0, ranks + 4);
    scratch.rows =
        detail::after(scratch.masks, std::int64_t{4} * kChunkTokens * scratch.mask_words);
    scratch.next_places =
        detail::after(scratch.rows, shape.expanded ? std::int64_t{4} * kChunkTokens : 0);
    scratch.warp_bytes = detail::after(scratch.next_places, experts);
    return scratch;
  }
};

// Rows that a warp sends before it waits for their way and raises their flags behind it.
inline constexpr int kFlagBatch = 4;

// Combine's in high throughput, a warp's: pointers to the rows of a sum, biases first, and their
// weights, ones but where experts' rows are summed; the rows that it has sent and not told of yet.
struct ThroughputSumScratch {
  std::int64_t weights = 0;
  std::int64_t batch = 0;  // [kFlagBatch] u32
  std::int64_t warp_bytes = 0;

  BRAID_HD static constexpr ThroughputSumScratch of(const ThroughputShape& shape) {
    ThroughputSumScratch scratch;
    const std::int64_t most = max_of(shape.most_ranks() + kMostBiases, shape.top_k);
    scratch.weights = detail::after(0, 8 * most);
    scratch.batch = detail::after(scratch.weights, 4 * most);
    scratch.warp_bytes = detail::after(scratch.batch, std::int64_t{4} * kFlagBatch);
    return scratch;
  }
};

BRAID_HD constexpr std::int64_t throughput_scratch_bytes(const ThroughputShape& shape,
                                                         int num_warps) {
  const auto layout = ThroughputLayoutScratch::of(shape);
  return max_of(layout.warps + num_warps * layout.warp_bytes,
                num_warps * ThroughputSumScratch::of(shape).warp_bytes);
}

}  // namespace braid::layout
