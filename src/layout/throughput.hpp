// Every byte offset of high throughput: the symmetric block, one rank's own tables, and the record
// that the host reads. As in map.hpp, flags carry their epoch and nothing is cleared.
//
// A received row has one place from the start, its final one: rows stand densely, by source rank,
// then token. So flags of rows of two sources may share a line, where one's rows end.
#pragma once

#include <cstdint>

#include "layout/local.hpp"
#include "layout/map.hpp"

namespace braid::layout {

// Tokens whose routing travels together, with one flag: as many as a word has bits, so that a set
// of them is a word.
inline constexpr int kChunkTokens = 32;
inline constexpr int kMostBiases = 2;  // of a combine

struct ThroughputShape {
  int num_ranks = 1;
  int num_experts = 1;
  int max_tokens = 1;  // T
  int hidden = 8;
  int top_k = 1;
  int depth = 2;
  int handle_slots = 1;
  bool expanded = false;  // with the places of the expanded form
  DispatchFormat widest_dispatch = DispatchFormat::kBf16;

  BRAID_HD constexpr int num_local() const { return num_experts / num_ranks; }
  // Rows that one rank can receive.
  BRAID_HD constexpr std::int64_t row_capacity() const {
    return static_cast<std::int64_t>(num_ranks) * max_tokens;
  }
  // Ranks that one token can go to.
  BRAID_HD constexpr int most_ranks() const { return min_of(top_k, num_ranks); }
  // Rows that can come home, named by (token, place of the rank among the token's ranks).
  BRAID_HD constexpr std::int64_t home_slots() const {
    return static_cast<std::int64_t>(max_tokens) * most_ranks();
  }
  BRAID_HD constexpr std::int64_t row_bytes() const {
    return codec::dispatch_data_bytes(widest_dispatch, hidden);
  }
  BRAID_HD constexpr std::int64_t scale_bytes() const {
    if (hidden % kScaleGroup != 0) return 0;
    return codec::dispatch_scale_bytes(DispatchFormat::kFp8, hidden);
  }
  BRAID_HD constexpr std::int64_t home_row_bytes() const {
    return codec::combine_row_max_bytes(CombineFormat::kBf16, hidden);
  }
  BRAID_HD constexpr std::int64_t weight_stride() const {
    return round_up(std::int64_t{4} * top_k, kRowAlignment);
  }
  // Experts whose tokens a chunk counts.
  BRAID_HD constexpr int counted_experts() const { return expanded ? num_experts : 0; }
  // Rows of the expanded form, where nothing is known of the routing.
  BRAID_HD constexpr std::int64_t expanded_capacity(int alignment) const {
    return row_capacity() * min_of(top_k, num_local()) +
           static_cast<std::int64_t>(num_local()) * (alignment - 1);
  }
  BRAID_HD constexpr int num_chunks() const { return ceil_div(max_tokens, kChunkTokens); }
  // Of the expanded form: the parts that all sources' chunks are cut into, to be counted beside
  // each other; as many as a worker has room for.
  BRAID_HD constexpr int count_parts() const {
    if (!expanded) return 0;
    constexpr int kMost = 16, kRoom = 4096;
    return max_of(1, min_of(kMost, kRoom / num_local()));
  }
};

// A chunk of a source's routing: its tokens' experts, -1 where none, which of its tokens go to each
// rank, a bit each, and where the buffer has the expanded form, how many name each expert.
struct ChunkShape {
  std::int64_t goers_at = 0;          // [R] u32, behind [kChunkTokens][k] i32
  std::int64_t expert_counts_at = 0;  // [counted_experts] u32
  std::int64_t bytes = 0;

  BRAID_HD static constexpr ChunkShape of(const ThroughputShape& shape, int k) {
    ChunkShape chunk;
    chunk.goers_at = std::int64_t{4} * kChunkTokens * k;
    chunk.expert_counts_at = chunk.goers_at + std::int64_t{4} * shape.num_ranks;
    chunk.bytes =
        round_up(chunk.expert_counts_at + std::int64_t{4} * shape.counted_experts(), kRowAlignment);
    return chunk;
  }
};

// The symmetric block. Control, then for flags and data `depth` copies each.
struct ThroughputMap {
  ThroughputShape shape;
  Region control, received, announced, chunk_flags, chunks, arrived, returned, data;
  std::int64_t chunk_flags_stride = 0;  // one source's words, one a chunk
  std::int64_t chunk_stride = 0;
  // Within a depth's data: dispatch's rows, scales, weights; or combine's rows, weights.
  std::int64_t scales_at = 0, weights_at = 0, home_weights_at = 0;
  std::int64_t dispatch_bytes = 0, combine_bytes = 0;
  std::int64_t depth_bytes = 0;
  std::int64_t total_bytes = 0;

  BRAID_HD static constexpr ThroughputMap of(const ThroughputShape& shape) {
    ThroughputMap map;
    map.shape = shape;
    const std::int64_t ranks = shape.num_ranks;
    const std::int64_t depth = shape.depth;
    const std::int64_t rows = shape.row_capacity();
    std::int64_t at = 0;
    const auto place = [&at](std::int64_t bytes) {
      const Region region{at, bytes};
      at = round_up(at + bytes, kRegionAlignment);
      return region;
    };
    map.control = place(ControlMap::bytes(ranks));
    map.received = place(depth * ranks * kFlagLine);
    map.announced = place(depth * ranks * kFlagLine);
    map.chunk_flags_stride = round_up(shape.num_chunks() * kWordBytes, kFlagLine);
    map.chunk_flags = place(depth * ranks * map.chunk_flags_stride);
    map.chunk_stride = round_up(ChunkShape::of(shape, shape.top_k).bytes, kSlotAlignment);
    map.chunks = place(depth * ranks * shape.num_chunks() * map.chunk_stride);
    map.arrived = place(depth * rows * kWordBytes);
    map.returned = place(depth * shape.home_slots() * kWordBytes);
    map.scales_at = round_up(rows * shape.row_bytes(), kRegionAlignment);
    map.weights_at = map.scales_at + round_up(rows * shape.scale_bytes(), kRegionAlignment);
    map.dispatch_bytes = map.weights_at + rows * shape.weight_stride();
    map.home_weights_at = round_up(shape.home_slots() * shape.home_row_bytes(), kRegionAlignment);
    map.combine_bytes = map.home_weights_at + shape.home_slots() * shape.weight_stride();
    map.depth_bytes = round_up(max_of(map.dispatch_bytes, map.combine_bytes), kRegionAlignment);
    map.data = place(depth * map.depth_bytes);
    map.total_bytes = at;
    return map;
  }

  BRAID_HD constexpr ControlMap control_map() const { return {control, shape.num_ranks}; }
  BRAID_HD constexpr std::int64_t abort_record(int reporter) const {
    return control_map().abort_record(reporter);
  }
  BRAID_HD constexpr std::int64_t received_flag(int depth_idx, int source) const {
    return received.offset + (std::int64_t{depth_idx} * shape.num_ranks + source) * kFlagLine;
  }
  // How many tokens a source has.
  BRAID_HD constexpr std::int64_t announced_word(int depth_idx, int source) const {
    return announced.offset + (std::int64_t{depth_idx} * shape.num_ranks + source) * kFlagLine;
  }
  BRAID_HD constexpr std::int64_t chunk_flag(int depth_idx, int source, int chunk) const {
    return chunk_flags.offset +
           (std::int64_t{depth_idx} * shape.num_ranks + source) * chunk_flags_stride +
           chunk * kWordBytes;
  }
  BRAID_HD constexpr std::int64_t chunk(int depth_idx, int source, int chunk_idx) const {
    return chunks.offset +
           ((std::int64_t{depth_idx} * shape.num_ranks + source) * shape.num_chunks() + chunk_idx) *
               chunk_stride;
  }
  BRAID_HD constexpr std::int64_t arrived_flag(int depth_idx, std::int64_t row) const {
    return arrived.offset + (depth_idx * shape.row_capacity() + row) * kWordBytes;
  }
  BRAID_HD constexpr std::int64_t returned_flag(int depth_idx, std::int64_t slot) const {
    return returned.offset + (depth_idx * shape.home_slots() + slot) * kWordBytes;
  }
  // Rows are as dense as their format, so that they are a tensor where they lie.
  BRAID_HD constexpr std::int64_t row(int depth_idx, std::int64_t row_idx,
                                      std::int64_t data_bytes) const {
    return depth_at(depth_idx) + row_idx * data_bytes;
  }
  BRAID_HD constexpr std::int64_t row_scales(int depth_idx, std::int64_t row_idx) const {
    return depth_at(depth_idx) + scales_at + row_idx * shape.scale_bytes();
  }
  BRAID_HD constexpr std::int64_t row_weights(int depth_idx, std::int64_t row_idx) const {
    return depth_at(depth_idx) + weights_at + row_idx * shape.weight_stride();
  }
  BRAID_HD constexpr std::int64_t home_row(int depth_idx, std::int64_t slot) const {
    return depth_at(depth_idx) + slot * shape.home_row_bytes();
  }
  BRAID_HD constexpr std::int64_t home_weights(int depth_idx, std::int64_t slot) const {
    return depth_at(depth_idx) + home_weights_at + slot * shape.weight_stride();
  }

 private:
  BRAID_HD constexpr std::int64_t depth_at(int depth_idx) const {
    return data.offset + depth_idx * depth_bytes;
  }
};

// Where a token goes: a row of a rank.
struct Destination {
  std::int32_t rank = -1;  // -1: no more ranks
  std::uint32_t row = 0;
};
static_assert(sizeof(Destination) == 8);

// One rank's own block: state, then each handle slot's tables, which a layout fills and every
// dispatch and combine of its handle reads.
struct ThroughputLocalMap {
  ThroughputShape shape;
  Region state, active, workers_done, claims, receive_claims, row_starts, expert_counts,
      destinations, origins, row_experts;
  Region expert_starts, expert_ends, places;  // of the expanded form
  std::int64_t handle_bytes = 0;              // of one slot's tables
  std::int64_t total_bytes = 0;

  BRAID_HD static constexpr ThroughputLocalMap of(const ThroughputShape& shape) {
    ThroughputLocalMap map;
    map.shape = shape;
    std::int64_t at = 0;
    const auto place = [&at](std::int64_t bytes) {
      const Region region{at, bytes};
      at = round_up(at + bytes, kFlagLine);
      return region;
    };
    const auto words = [](std::int64_t count) { return std::int64_t{4} * count; };
    map.state = place(sizeof(OperationState));
    map.active = place(words(shape.num_ranks));
    map.workers_done = place(words(1));
    map.claims = place(words(1));
    map.receive_claims = place(words(1));
    const std::int64_t tables = at;
    map.row_starts = place(words(shape.num_ranks + 1));
    map.expert_counts = place(words(shape.num_local()));
    map.destinations = place(shape.home_slots() * static_cast<std::int64_t>(sizeof(Destination)));
    map.origins = place(shape.row_capacity() * static_cast<std::int64_t>(sizeof(RowOrigin)));
    map.row_experts = place(words(shape.row_capacity() * shape.top_k));
    if (shape.expanded) {
      map.expert_starts = place(words(shape.num_local() + 1));
      map.expert_ends = place(words(shape.num_local()));
      map.places = place(words(shape.row_capacity() * shape.top_k));
    }
    map.handle_bytes = at - tables;
    map.total_bytes = tables + shape.handle_slots * map.handle_bytes;
    return map;
  }

  // [R + 1] u32: where each source's rows begin, and how many there are in all.
  BRAID_HD constexpr std::int64_t row_start(int slot, int source) const {
    return row_starts.offset + slot * handle_bytes + source * std::int64_t{4};
  }
  // [Le] u32: rows that name the expert. Zero but while a layout counts.
  BRAID_HD constexpr std::int64_t expert_count(int slot, int local_expert) const {
    return expert_counts.offset + slot * handle_bytes + local_expert * std::int64_t{4};
  }
  // [T][most_ranks] Destination, by ascending rank.
  BRAID_HD constexpr std::int64_t destination(int slot, std::int64_t token) const {
    return destinations.offset + slot * handle_bytes +
           token * shape.most_ranks() * static_cast<std::int64_t>(sizeof(Destination));
  }
  // [R*T] RowOrigin: the source, and the slot there that the row goes home to.
  BRAID_HD constexpr std::int64_t origin(int slot, std::int64_t row) const {
    return origins.offset + slot * handle_bytes +
           row * static_cast<std::int64_t>(sizeof(RowOrigin));
  }
  // [R*T][k] i32: a row's local experts by choice, -1 where the expert is elsewhere.
  BRAID_HD constexpr std::int64_t experts_of(int slot, std::int64_t row) const {
    return row_experts.offset + slot * handle_bytes + row * shape.top_k * std::int64_t{4};
  }
  // [Le + 1] u32: where an expert's rows begin in the expanded form, and where all end, padded.
  BRAID_HD constexpr std::int64_t expert_start(int slot, int local_expert) const {
    return expert_starts.offset + slot * handle_bytes + local_expert * std::int64_t{4};
  }
  // [Le] u32: where they end, and padding begins.
  BRAID_HD constexpr std::int64_t expert_end(int slot, int local_expert) const {
    return expert_ends.offset + slot * handle_bytes + local_expert * std::int64_t{4};
  }
  // [R*T][k] u32: a received row's rows in the expanded form, for choices that are local.
  BRAID_HD constexpr std::int64_t places_of(int slot, std::int64_t row) const {
    return places.offset + slot * handle_bytes + row * shape.top_k * std::int64_t{4};
  }
};

// What the host is told of a layout, a record a handle slot, in memory that it and the roles see.
struct ReceivedMap {
  std::int64_t sources_at = 0;  // [R] u32 rows from each source, behind the word
  std::int64_t experts_at = 0;  // [Le] u32 rows that name each local expert
  std::int64_t stride = 0;

  BRAID_HD static constexpr ReceivedMap of(const ThroughputShape& shape) {
    ReceivedMap map;
    map.sources_at = kWordBytes;
    map.experts_at = map.sources_at + std::int64_t{4} * shape.num_ranks;
    map.stride = round_up(map.experts_at + std::int64_t{4} * shape.num_local(), kFlagLine);
    return map;
  }
  // The word: the layout's own number, once the rest is there.
  BRAID_HD constexpr std::int64_t record(int slot) const { return slot * stride; }
};

}  // namespace braid::layout
