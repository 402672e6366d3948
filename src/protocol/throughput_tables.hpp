// What the layout of a routing works on: sums in the worker's scratch, and chunks as they arrived.
#pragma once

#include "protocol/throughput.hpp"

namespace braid::protocol {

namespace detail {

using layout::ChunkShape;
using layout::kChunkTokens;

// Of the worker, but for the last four, which are the warp's.
struct LayoutTables {
  std::uint32_t* first_own;   // [R]: where this rank's rows begin at each rank
  std::uint32_t* from;        // [R]: rows from each source
  std::uint32_t* row_starts;  // [R + 1]
  std::uint32_t* tokens;      // [R]
  std::uint8_t* coming;       // [R][chunks]: rows from each source's chunk
  std::uint8_t* going;        // [chunks][R]: rows of this rank's chunk to each rank
  // Of the expanded form.
  std::uint32_t* expert_rows;    // [count_parts][Le]
  std::uint32_t* expert_spans;   // [Le]
  std::uint32_t* expert_starts;  // [Le + 1]

  std::uint32_t* next;   // [R + 1]: this rank's next row at each rank; the next one from a source
  std::uint32_t* rows;   // [kChunkTokens]: the row of each token here
  std::uint32_t* named;  // [Le]: the tokens that name an expert
  std::uint32_t* next_places;  // [Le]: of the expanded form

  template <Machine M>
  BRAID_HD static LayoutTables of(M& m, const layout::ThroughputShape& shape) {
    const auto at = layout::ThroughputLayoutScratch::of(shape);
    std::byte* own = m.scratch() + at.warps + m.warp() * at.warp_bytes;
    const auto words = [](std::byte* bytes) { return reinterpret_cast<std::uint32_t*>(bytes); };
    const auto shared = [&](std::int64_t offset) { return words(m.scratch() + offset); };
    const auto bytes = [&](std::int64_t offset) {
      return reinterpret_cast<std::uint8_t*>(m.scratch() + offset);
    };
    return {shared(at.first_own),       shared(at.from),
            shared(at.row_starts),      shared(at.tokens),
            bytes(at.coming),           bytes(at.going),
            shared(at.expert_rows),     shared(at.expert_spans),
            shared(at.expert_starts),   words(own),
            words(own + at.rows),       words(own + at.named),
            words(own + at.next_places)};
  }
};

// Of a set of a chunk's tokens, a bit each: whether one is in it, how many before it are, and how
// many there are.
BRAID_HD inline bool has(std::uint32_t set, int token) { return (set >> token & 1U) != 0; }
BRAID_HD inline std::uint32_t before(std::uint32_t set, int token) {
  return static_cast<std::uint32_t>(count_bits(set & ((1U << token) - 1)));
}
BRAID_HD inline std::uint32_t size_of(std::uint32_t set) {
  return static_cast<std::uint32_t>(count_bits(set));
}

// Some tokens of a source.
struct Chunk {
  int source = 0;
  int index = 0;
  int num_tokens = 0;
  const std::byte* bytes = nullptr;
  const std::int32_t* experts = nullptr;         // [num_tokens][k]
  const std::uint32_t* goers = nullptr;          // [R]: the tokens that go to a rank
  const std::uint32_t* expert_counts = nullptr;  // [E], of a buffer that has the expanded form

  // How many ranks before this one the token goes to.
  BRAID_HD int ranks_before(int token, int rank) const {
    int count = 0;
    for (int earlier = 0; earlier < rank; ++earlier) count += has(goers[earlier], token) ? 1 : 0;
    return count;
  }
};

BRAID_HD inline int chunks_of(std::uint32_t num_tokens) {
  return static_cast<int>(ceil_div(num_tokens, static_cast<std::uint32_t>(kChunkTokens)));
}

BRAID_HD inline Chunk chunk_in(const std::byte* bytes, const LayoutArgs& a, int source, int index) {
  const auto shape = ChunkShape::of(a.op.map.shape, a.topk.k);
  return {source,
          index,
          0,
          bytes,
          reinterpret_cast<const std::int32_t*>(bytes),
          reinterpret_cast<const std::uint32_t*>(bytes + shape.goers_at),
          reinterpret_cast<const std::uint32_t*>(bytes + shape.expert_counts_at)};
}
template <Machine M>
BRAID_HD Chunk chunk_at(const M& m, const LayoutArgs& a, std::uint32_t epoch, int source,
                        int index) {
  return chunk_in(m.local() + a.op.map.chunk(depth_of(a.op, epoch), source, index), a, source,
                  index);
}

// Which of a chunk's tokens go to each rank. Ranks that don't take part get none. A warp's work.
template <Machine M>
BRAID_HD void find_goers(M& m, const LayoutArgs& a, const std::int32_t* experts,
                         std::uint32_t* goers) {
  const int k = a.topk.k;
  m.for_lanes(a.op.map.shape.num_ranks, [&](int rank) { goers[rank] = 0; });
  m.sync_warp();
  m.for_lanes(kChunkTokens * k, [&](int i) {
    if (experts[i] < 0) return;
    const int rank = a.experts.rank_of(experts[i]);
    if (is_active(a.op, rank)) m.scratch_or(goers + rank, 1U << i / k);
  });
  m.sync_warp();
}

}  // namespace detail

}  // namespace braid::protocol
