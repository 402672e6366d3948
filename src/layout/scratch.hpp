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
// Rows of high throughput that a warp looks up together, and whose flags it raises together while
// as many again are on their way.
inline constexpr int kRowBatch = 6;
// The same of rows that are copied from where they arrive: a batch is a part of a warp's rows,
// within bounds.
inline constexpr int kLeastCopied = 2;
inline constexpr int kMostCopied = 4;
inline constexpr int kCopiedBatches = 7;
static_assert(kMostCopied <= kRowBatch);
// Rows that a warp waits for together.
inline constexpr int kArrivals = 16;
// Of rows that are copied from where they arrive, batches of these that a warp has.
inline constexpr int kTakenBatches = 4;
// Tokens whose rows a warp waits for together, to sum them.
inline constexpr int kTokensTogether = 2;
static_assert(kRowBatch % kTokensTogether == 0);
// Sums of rows' experts' rows that a warp looks up together, and sends as a batch.
inline constexpr int kNestedSums = 2;
static_assert(kNestedSums <= kRowBatch);
// Rows ahead of the one that a warp sends (Machine::rows_ahead).
inline constexpr int kMostAhead = 2;
// Of which it remembers what it has looked up: two batches on their way, and one that is begun.
inline constexpr int kMostRows = 3 * kRowBatch + kMostAhead;
inline constexpr int kMostBatches = 4;  // that these rows are of

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
  std::int64_t count = 0;    // u32 rows, u32 slot, u32 tokens of its home
  std::int64_t bytes = 0;

  BRAID_HD static constexpr SumScratch of(int k) {
    SumScratch scratch;
    scratch.weights = detail::after(0, k * std::int64_t{8});
    scratch.experts = detail::after(scratch.weights, k * std::int64_t{4});
    scratch.count = detail::after(scratch.experts, k * std::int64_t{4});
    scratch.bytes = detail::after(scratch.count, 12);
    return scratch;
  }
};

BRAID_HD constexpr std::int64_t scratch_bytes(const ExpertMap& experts, int k) {
  return max_of(DispatchReceiveScratch::of(experts, k).bytes, SumScratch::of(k).bytes);
}

// The layout of high throughput: the worker's sums, then each warp's running places, and which of a
// chunk's tokens name each expert here, a bit each.
struct ThroughputLayoutScratch {
  std::int64_t first_own = 0;      // [R] u32: where this rank's rows begin at each rank
  std::int64_t from = 0;           // [R] u32: rows from each source
  std::int64_t row_starts = 0;     // [R + 1] u32
  std::int64_t tokens = 0;         // [R] u32: of each source
  std::int64_t coming = 0;         // [R][chunks] u8: rows from each source's chunk
  std::int64_t going = 0;          // [chunks][R] u8: rows of this rank's chunk to each rank
  std::int64_t expert_rows = 0;    // expanded: [count_parts][Le] u32
  std::int64_t expert_spans = 0;   // expanded: [Le] u32: all rows of an expert, with padding
  std::int64_t expert_starts = 0;  // expanded: [Le + 1] u32
  std::int64_t warps = 0;
  std::int64_t rows = 0;         // within a warp's: [kChunkTokens] u32, behind [R + 1] u32
  std::int64_t named = 0;        // [Le] u32
  std::int64_t next_places = 0;  // expanded: [Le] u32
  std::int64_t warp_bytes = 0;

  BRAID_HD static constexpr ThroughputLayoutScratch of(const ThroughputShape& shape) {
    ThroughputLayoutScratch scratch;
    const std::int64_t ranks = std::int64_t{4} * shape.num_ranks;
    const std::int64_t locals = std::int64_t{4} * shape.num_local();
    const std::int64_t experts = shape.expanded ? locals : 0;
    scratch.from = detail::after(0, ranks);
    scratch.row_starts = detail::after(scratch.from, ranks);
    scratch.tokens = detail::after(scratch.row_starts, ranks + 4);
    scratch.coming = detail::after(scratch.tokens, ranks);
    const std::int64_t chunks = std::int64_t{shape.num_ranks} * shape.num_chunks();
    scratch.going = detail::after(scratch.coming, chunks);
    scratch.expert_rows = detail::after(scratch.going, chunks);
    scratch.expert_spans = detail::after(scratch.expert_rows, experts * shape.count_parts());
    scratch.expert_starts = detail::after(scratch.expert_spans, experts);
    scratch.warps = detail::after(scratch.expert_starts, experts + 4);
    scratch.rows = detail::after(0, ranks + 4);
    scratch.named = detail::after(scratch.rows, std::int64_t{4} * kChunkTokens);
    scratch.next_places = detail::after(scratch.named, locals);
    scratch.warp_bytes = detail::after(scratch.next_places, experts);
    return scratch;
  }
};

// Of a nested sum (machine::NestedSum): its inner and plain rows, and where the inner ones' sum
// stands.
struct NestedCounts {
  std::int32_t inner = 0, plain = 0, inner_at = 0;
};

// A warp's in dispatch and combine of high throughput: what it has looked up of its newest rows or
// tokens, by their number modulo kMostRows.
struct ThroughputRowScratch {
  // A warp that sends tokens, or sums them: [kMostRows][most_ranks] Destination.
  std::int64_t destinations = 0;
  // One that sends rows home: [kMostRows] i64, and [kMostRows] RowOrigin. One that takes rows:
  // [2 * kArrivals] i64.
  std::int64_t rows = 0;
  std::int64_t origins = 0;
  // One that sums: for two sums in turn [kMostBiases + most_ranks] pointers to their rows.
  std::int64_t sums = 0;
  // The numbers of the newest batches that were claimed, [kMostBatches] u32.
  std::int64_t batches = 0;
  // The expanded form, of the sums of a batch: pointers to their rows,
  // [kNestedSums][k + kMostBiases + most_ranks], the weights of the inner ones, [kNestedSums][k]
  // f32; and their NestedCounts, [kNestedSums].
  std::int64_t nested_rows = 0;
  std::int64_t inner_weights = 0;
  std::int64_t nested_counts = 0;
  std::int64_t bytes = 0;

  BRAID_HD static constexpr ThroughputRowScratch of(const ThroughputShape& shape) {
    ThroughputRowScratch scratch;
    const std::int64_t destination = shape.most_ranks() * std::int64_t{sizeof(Destination)};
    const std::int64_t most = std::int64_t{shape.most_ranks()} + kMostBiases;
    const std::int64_t looked_up = detail::after(0, kMostRows * destination);
    scratch.origins = detail::after(0, std::int64_t{8} * kMostRows);
    const std::int64_t rows = max_of(
        detail::after(scratch.origins, kMostRows * static_cast<std::int64_t>(sizeof(RowOrigin))),
        std::int64_t{8} * 2 * kArrivals);
    // A sum's tokens are a batch, and its tables come behind them.
    scratch.sums = detail::after(0, kRowBatch * destination);
    scratch.batches = max_of(max_of(looked_up, rows), detail::after(scratch.sums, 2 * 8 * most));
    scratch.nested_rows = detail::after(scratch.batches, std::int64_t{4} * kMostBatches);
    const std::int64_t sums = shape.expanded ? kNestedSums : 0;
    scratch.inner_weights = detail::after(scratch.nested_rows, 8 * sums * (shape.top_k + most));
    scratch.nested_counts = detail::after(scratch.inner_weights, 4 * sums * shape.top_k);
    scratch.bytes = detail::after(scratch.nested_counts,
                                  sums * static_cast<std::int64_t>(sizeof(NestedCounts)));
    return scratch;
  }
};

BRAID_HD constexpr std::int64_t layout_scratch_bytes(const ThroughputShape& shape, int num_warps) {
  const auto layout = ThroughputLayoutScratch::of(shape);
  return layout.warps + num_warps * layout.warp_bytes;
}
BRAID_HD constexpr std::int64_t row_scratch_bytes(const ThroughputShape& shape, int num_warps) {
  return num_warps * ThroughputRowScratch::of(shape).bytes;
}

}  // namespace braid::layout
