// Shared memory of the block roles: one map for the launch and for the kernel.
#pragma once

#include <cstdint>

#include "backend/cuda/shared_map.hpp"
#include "layout/shape.hpp"

namespace braid::cuda {

// Two counts in a word: of all tokens that a block looks at, and of those before its own. Both are
// counted by one addition, of word(); neither reaches 2^16. Once counted, each is its own.
struct RouteCount {
  std::uint16_t all = 0;
  std::uint16_t before = 0;

  BRAID_HD static constexpr std::uint32_t word(std::uint32_t all, std::uint32_t before) {
    return before << 16 | all;
  }
};
inline constexpr int kMostCounted = 0xffff;

struct DispatchBlockMap {
  // [E] and [R] RouteCount, zeroed together.
  std::int32_t rows = 0, row_messages = 0;
  std::int32_t first_rows = 0;  // [R][Le] u32: where a source's rows of an expert begin
  std::int32_t messages = 0;    // [R] u32: a source's
  std::int32_t failed = 0;      // u32: a wait of this block has
  std::int32_t own_counts = 0;  // [rows] u32: placements at this rank of the block's own tokens
  std::int32_t own = 0;         // [rows][k] Placement
  std::int32_t plans = 0;       // [rows][k] of two pointers: a message's place and its flag
  std::int32_t barriers = 0;    // [rows] full, [rows] empty
  std::int32_t ring = 0;        // [rows] encoded rows
  std::int32_t row_bytes = 0;
  std::int32_t bytes = 0;

  BRAID_HD static constexpr DispatchBlockMap of(int num_experts, int num_ranks, int k,
                                                std::int64_t payload_bytes, int rows) {
    DispatchBlockMap map;
    const std::int32_t experts = num_experts * 4, ranks = num_ranks * 4;
    const auto after = [](std::int32_t at, std::int32_t bytes) { return round_up(at + bytes, 16); };
    map.row_messages = experts;
    map.first_rows = after(map.row_messages, ranks);
    map.messages = after(map.first_rows, experts);
    map.failed = after(map.messages, ranks);
    map.own_counts = after(map.failed, 4);
    map.own = after(map.own_counts, rows * 4);
    map.plans = map.own + rows * k * static_cast<int>(sizeof(layout::Placement));
    map.barriers = map.plans + rows * k * 16;
    map.ring = round_up(map.barriers + rows * 16, kAlignment);
    map.row_bytes = round_up(static_cast<std::int32_t>(payload_bytes), kAlignment);
    map.bytes = map.ring + rows * map.row_bytes;
    return map;
  }

 private:
  static constexpr int kAlignment = static_cast<int>(kSharedAlignment);
};

struct CombineBlockMap {
  std::int32_t failed = 0;        // u32
  std::int32_t in_barriers = 0;   // [in_rows] full, [in_rows] empty
  std::int32_t out_barriers = 0;  // the same of out_rows
  std::int32_t in = 0;            // [in_rows] rows as the experts left them
  std::int32_t out = 0;           // [out_rows] sums
  int in_rows = 0, out_rows = 0;
  std::int32_t row_bytes = 0;
  std::int32_t bytes = 0;

  // As many rows on their way in as fit: a block's first token has its rows loaded at once.
  BRAID_HD static constexpr CombineBlockMap of(std::int64_t row_bytes, bool sums) {
    CombineBlockMap map;
    const auto after = [](std::int32_t at, std::int32_t bytes) { return round_up(at + bytes, 16); };
    map.row_bytes = round_up(static_cast<std::int32_t>(row_bytes), kAlignment);
    map.out_rows = sums ? 3 : 0;
    map.in_barriers = after(0, 4);
    map.out_barriers = map.in_barriers + kMostInRows * 16;
    map.in = round_up(map.out_barriers + map.out_rows * 16, kAlignment);
    const int rows = (static_cast<int>(kSharedLimit) - map.in) / map.row_bytes - map.out_rows;
    map.in_rows = max_of(0, min_of(rows, kMostInRows));
    map.out = map.in + map.in_rows * map.row_bytes;
    map.bytes = map.out + map.out_rows * map.row_bytes;
    return map;
  }

 private:
  static constexpr int kMostInRows = 16;
  static constexpr int kAlignment = static_cast<int>(kSharedAlignment);
};

}  // namespace braid::cuda
