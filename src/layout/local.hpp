// A rank's own memory that no peer touches: the operation state and the handle tables.
#pragma once

#include <cstdint>

#include "layout/map.hpp"

namespace braid::layout {

// Counters that a phase's workers meet at; the last one resets it. On lines of their own.
enum class Phase : int { kDispatchSend, kDispatchReceive, kCombineSend, kCombineReceive };
inline constexpr int kNumPhases = 4;

struct alignas(64) HandleRecord {
  std::uint32_t dispatch_epoch = 0;  // stored by the last worker of the first send
  std::uint32_t combine_epoch = 0;
  std::uint32_t workers_done[kNumPhases] = {0, 0, 0, 0};
  std::uint32_t reserved[10] = {};
};
static_assert(sizeof(HandleRecord) == 64);

struct alignas(64) OperationState {
  std::uint32_t epoch = 0;  // of the newest operation whose first send has ended
  // Of an operation that this rank has received without raising `received` yet: the next one's
  // first send does, early. 0: none.
  std::uint32_t unraised = 0;
  std::uint32_t reserved[14] = {};
};
static_assert(sizeof(OperationState) == 64);

// Where a received row goes home to.
struct RowOrigin {
  std::uint32_t rank = 0;
  // Low latency: token * k + first choice that names the expert.
  // High throughput: token * most_ranks + this rank's place among the token's ranks.
  std::uint32_t slot = 0;
};

// A naming of a local expert by a token of some source, as combine at the expert rank sums it. It
// is there when its epoch is that of the handle's dispatch: nothing is cleared.
struct SumTerm {
  std::uint32_t epoch = 0;
  std::uint32_t row = 0;  // local expert * row capacity + row
  float weight = 0.0F;
  std::uint32_t source_tokens = 0;  // of that dispatch, at the source
};
static_assert(sizeof(SumTerm) == 16);

// The local block: state, then for each handle slot its record and tables, then where they are
// reserved for each handle slot the rows that its experts write.
struct LocalMap {
  BufferShape shape;
  Region state, active, records, expert_counts, origins, terms, combine_regions;
  std::int64_t handle_bytes = 0;  // of one handle slot's tables
  std::int64_t combine_region_stride = 0;
  std::int64_t total_bytes = 0;

  BRAID_HD static constexpr LocalMap of(const BufferShape& shape) {
    LocalMap map;
    map.shape = shape;
    const std::int64_t ranks = shape.num_ranks;
    std::int64_t at = 0;
    const auto place = [&at](std::int64_t bytes) {
      const Region region{at, bytes};
      at = round_up(at + bytes, kFlagLine);
      return region;
    };
    map.state = place(sizeof(OperationState));
    map.active = place(ranks * static_cast<std::int64_t>(sizeof(std::uint32_t)));
    map.records = place(shape.handle_slots * static_cast<std::int64_t>(sizeof(HandleRecord)));
    const std::int64_t tables = at;
    map.expert_counts = place(shape.num_local() * static_cast<std::int64_t>(sizeof(std::uint32_t)));
    map.origins = place(shape.num_local() * shape.row_capacity() *
                        static_cast<std::int64_t>(sizeof(RowOrigin)));
    map.terms = place(ranks * map.terms_per_source() * static_cast<std::int64_t>(sizeof(SumTerm)));
    map.handle_bytes = at - tables;
    map.total_bytes = tables + shape.handle_slots * map.handle_bytes;
    if (!shape.combine_regions) return map;
    map.combine_region_stride = round_up(shape.combine_region_bytes(), kRegionAlignment);
    map.combine_regions = {round_up(map.total_bytes, kRegionAlignment),
                           shape.handle_slots * map.combine_region_stride};
    map.total_bytes = map.combine_regions.offset + map.combine_regions.bytes;
    return map;
  }

  // Every choice of every token.
  BRAID_HD constexpr std::int64_t terms_per_source() const { return shape.combine_slots(); }

  BRAID_HD constexpr std::int64_t combine_region(int slot) const {
    return combine_regions.offset + slot * combine_region_stride;
  }
  BRAID_HD constexpr std::int64_t record(int slot) const {
    return records.offset + slot * static_cast<std::int64_t>(sizeof(HandleRecord));
  }
  // Rows received for each local expert: [Le] u32.
  BRAID_HD constexpr std::int64_t expert_count(int slot, int local_expert) const {
    return expert_counts.offset + slot * handle_bytes + local_expert * std::int64_t{4};
  }
  BRAID_HD constexpr std::int64_t origin(int slot, int local_expert, std::int64_t row) const {
    return origins.offset + slot * handle_bytes +
           (local_expert * shape.row_capacity() + row) *
               static_cast<std::int64_t>(sizeof(RowOrigin));
  }
  // at: token * k + choice.
  BRAID_HD constexpr std::int64_t term(int slot, int source, std::int64_t at) const {
    return terms.offset + slot * handle_bytes +
           (source * terms_per_source() + at) * static_cast<std::int64_t>(sizeof(SumTerm));
  }
};

}  // namespace braid::layout
