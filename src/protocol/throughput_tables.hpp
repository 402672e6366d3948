// What the layout of a routing works on: sums in the worker's scratch, and chunks as they arrived.
#pragma once

#include "protocol/throughput.hpp"

namespace braid::protocol {

namespace detail {

using layout::ChunkShape;
using layout::kChunkTokens;

inline constexpr int kChunkWords = kChunkTokens / 32;

// Of the worker, but for next, masks and goers, which are the warp's.
struct LayoutTables {
  std::uint32_t* first_own;   // [R]: where this rank's rows begin at each rank
  std::uint32_t* from;        // [R]: rows from each source
  std::uint32_t* row_starts;  // [R + 1]
  std::uint32_t* tokens;      // [R]
  std::uint32_t* coming;      // [R][chunks]: rows from each source's chunk
  std::uint32_t* going;       // [chunks][R]: rows of this rank's chunk to each rank
  std::uint32_t* next;   // [R + 1]: this rank's next row at each rank; the next one from a source
  std::uint32_t* masks;  // [kChunkTokens][mask_words]: the ranks that a token goes to
  std::uint32_t* goers;  // [R][kChunkWords]: the tokens that go to a rank
  int mask_words;
  // Of the expanded form; the last two are the warp's.
  std::uint32_t* expert_rows;    // [Le]
  std::uint32_t* expert_starts;  // [Le + 1]
  std::uint32_t* rows;           // [kChunkTokens]: the row of each token here
  std::uint32_t* next_places;    // [Le]

  template <Machine M>
  BRAID_HD static LayoutTables of(M& m, const layout::ThroughputShape& shape) {
    const auto at = layout::ThroughputLayoutScratch::of(shape);
    std::byte* own = m.scratch() + at.warps + m.warp() * at.warp_bytes;
    const auto words = [](std::byte* bytes) { return reinterpret_cast<std::uint32_t*>(bytes); };
    return {words(m.scratch() + at.first_own),
            words(m.scratch() + at.from),
            words(m.scratch() + at.row_starts),
            words(m.scratch() + at.tokens),
            words(m.scratch() + at.coming),
            words(m.scratch() + at.going),
            words(own),
            words(own + at.masks),
            words(own + at.goers),
            at.mask_words,
            words(m.scratch() + at.expert_rows),
            words(m.scratch() + at.expert_starts),
            words(own + at.rows),
            words(own + at.next_places)};
  }
  BRAID_HD bool goes_to(int token, int rank) const {
    return (masks[token * mask_words + rank / 32] >> (rank % 32) & 1U) != 0;
  }
  // How many of the chunk's tokens before this one go to the rank; of all, how many.
  BRAID_HD std::uint32_t tokens_before(int token, int rank) const {
    const std::uint32_t* going_there = goers + rank * kChunkWords;
    int count = 0;
    for (int word = 0; word < kChunkWords; ++word) {
      const int bits = token - 32 * word;
      if (bits <= 0) break;
      count += count_bits(bits >= 32 ? going_there[word] : going_there[word] & ((1U << bits) - 1));
    }
    return static_cast<std::uint32_t>(count);
  }
  // How many ranks before this one the token goes to.
  BRAID_HD std::int32_t ranks_before(int token, int rank) const {
    const std::uint32_t* mask = masks + token * mask_words;
    int count = count_bits(mask[rank / 32] & ((1U << rank % 32) - 1));
    for (int word = 0; word < rank / 32; ++word) count += count_bits(mask[word]);
    return count;
  }
};

// Some tokens of a source.
struct Chunk {
  int source = 0;
  int index = 0;
  int num_tokens = 0;
  const std::byte* bytes = nullptr;
  const std::int32_t* experts = nullptr;         // [num_tokens][k]
  const std::uint32_t* counts = nullptr;         // [R]
  const std::uint32_t* expert_counts = nullptr;  // [E], of a buffer that has the expanded form
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
          reinterpret_cast<const std::uint32_t*>(bytes + shape.counts_at),
          reinterpret_cast<const std::uint32_t*>(bytes + shape.expert_counts_at)};
}
template <Machine M>
BRAID_HD Chunk chunk_at(const M& m, const LayoutArgs& a, std::uint32_t epoch, int source,
                        int index) {
  return chunk_in(m.local() + a.op.map.chunk(depth_of(a.op, epoch), source, index), a, source,
                  index);
}

// Which ranks a chunk's tokens go to. Ranks that don't take part get none. A warp's work.
template <Machine M>
BRAID_HD void find_ranks(M& m, const LayoutArgs& a, const LayoutTables& tables,
                         const std::int32_t* experts, int num_tokens) {
  const int num_local = a.experts.num_local();
  m.for_lanes(a.op.map.shape.num_ranks * kChunkWords, [&](int i) { tables.goers[i] = 0; });
  m.sync_warp();
  m.for_lanes(num_tokens, [&](int token) {
    std::uint32_t* mask = tables.masks + token * tables.mask_words;
    for (int word = 0; word < tables.mask_words; ++word) mask[word] = 0;
    for (int choice = 0; choice < a.topk.k; ++choice) {
      const int expert = experts[token * a.topk.k + choice];
      if (expert < 0) continue;
      const int rank = expert / num_local;
      const std::uint32_t bit = 1U << rank % 32;
      if ((mask[rank / 32] & bit) != 0 || !is_active(a.op, rank)) continue;
      mask[rank / 32] |= bit;
      // Each token's bit once.
      m.scratch_add(tables.goers + rank * kChunkWords + token / 32, 1U << token % 32);
    }
  });
  m.sync_warp();
}

}  // namespace detail

}  // namespace braid::protocol
