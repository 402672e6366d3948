// What the layout of a routing works on: sums in the worker's scratch, and chunks as they arrived.
#pragma once

#include "protocol/throughput.hpp"

namespace braid::protocol {

namespace detail {

using layout::ChunkShape;
using layout::kChunkTokens;

// Of the worker, but for next and masks, which are the warp's.
struct LayoutTables {
  std::uint32_t* first_own;   // [R]: where this rank's rows begin at each rank
  std::uint32_t* from;        // [R]: rows from each source
  std::uint32_t* row_starts;  // [R + 1]
  std::uint32_t* tokens;      // [R]
  std::uint32_t* next;   // [R + 1]: this rank's next row at each rank; the next one from a source
  std::uint32_t* masks;  // [kChunkTokens][mask_words]
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
            words(own),
            words(own + at.masks),
            at.mask_words,
            words(m.scratch() + at.expert_rows),
            words(m.scratch() + at.expert_starts),
            words(own + at.rows),
            words(own + at.next_places)};
  }
  BRAID_HD bool goes_to(int token, int rank) const {
    return (masks[token * mask_words + rank / 32] >> (rank % 32) & 1U) != 0;
  }
  // How many ranks before this one the token goes to.
  BRAID_HD std::int32_t ranks_before(int token, int rank) const {
    const std::uint32_t* mask = masks + token * mask_words;
    int count = count_bits(mask[rank / 32] & ((1U << rank % 32) - 1));
    for (int word = 0; word < rank / 32; ++word) count += count_bits(mask[word]);
    return count;
  }
  BRAID_HD int num_ranks_of(int token) const {
    int count = 0;
    for (int word = 0; word < mask_words; ++word) {
      count += count_bits(masks[token * mask_words + word]);
    }
    return count;
  }
};

// Some tokens of a source.
struct Chunk {
  int source = 0;
  int index = 0;
  int num_tokens = 0;
  const std::int32_t* experts = nullptr;         // [num_tokens][k]
  const std::uint32_t* counts = nullptr;         // [R]
  const std::uint32_t* expert_counts = nullptr;  // [E], of a buffer that has the expanded form
};

BRAID_HD inline int chunks_of(std::uint32_t num_tokens) {
  return static_cast<int>(ceil_div(num_tokens, static_cast<std::uint32_t>(kChunkTokens)));
}

template <Machine M>
BRAID_HD Chunk chunk_at(const M& m, const LayoutArgs& a, std::uint32_t epoch, int source,
                        int index) {
  const std::byte* at = m.local() + a.op.map.chunk(depth_of(a.op, epoch), source, index);
  const auto shape = ChunkShape::of(a.op.map.shape, a.topk.k);
  return {source,
          index,
          0,
          reinterpret_cast<const std::int32_t*>(at),
          reinterpret_cast<const std::uint32_t*>(at + shape.counts_at),
          reinterpret_cast<const std::uint32_t*>(at + shape.expert_counts_at)};
}

// A token's experts in `mask`, as the ranks that they are of. Ranks that don't take part get none.
BRAID_HD inline void ranks_of(const LayoutArgs& a, const std::int32_t* experts, std::uint32_t* mask,
                              int mask_words) {
  for (int word = 0; word < mask_words; ++word) mask[word] = 0;
  const int num_local = a.experts.num_local();
  for (int choice = 0; choice < a.topk.k; ++choice) {
    if (experts[choice] < 0) continue;
    const int rank = experts[choice] / num_local;
    if (is_active(a.op, rank)) mask[rank / 32] |= 1U << rank % 32;
  }
}

}  // namespace detail

}  // namespace braid::protocol
