// Shared memory of the block roles: one map for the launch and for the kernel.
#pragma once

#include <cstdint>

#include "backend/cuda/shared_map.hpp"
#include "layout/shape.hpp"

namespace braid::cuda {

struct DispatchBlockMap {
  // [E], [E], [R], [R] u32, zeroed together: what all tokens have, and those before this block's.
  std::int64_t total_rows = 0, before_rows = 0, total_messages = 0, before_messages = 0;
  std::int64_t first_rows = 0;  // [R][Le] u32: where a source's rows of an expert begin
  std::int64_t messages = 0;    // [R] u32: a source's
  std::int64_t peers = 0;       // [R] pointers
  std::int64_t failed = 0;      // u32: a wait of this block has
  std::int64_t own_counts = 0;  // [rows] u32: placements at this rank of the block's own tokens
  std::int64_t own = 0;         // [rows][k] Placement
  std::int64_t plans = 0;       // [rows][k] of two pointers: a message's place and its flag
  std::int64_t barriers = 0;    // [rows] full, [rows] empty
  std::int64_t ring = 0;        // [rows] encoded rows
  std::int64_t row_bytes = 0;
  std::int64_t bytes = 0;

  BRAID_HD static constexpr DispatchBlockMap of(int num_experts, int num_ranks, int k,
                                                std::int64_t payload_bytes, int rows) {
    DispatchBlockMap map;
    const std::int64_t experts = num_experts * std::int64_t{4}, ranks = num_ranks * std::int64_t{4};
    const auto after = [](std::int64_t at, std::int64_t bytes) {
      return round_up(at + bytes, std::int64_t{16});
    };
    map.before_rows = experts;
    map.total_messages = map.before_rows + experts;
    map.before_messages = map.total_messages + ranks;
    map.first_rows = after(map.before_messages, ranks);
    map.messages = after(map.first_rows, experts);
    map.peers = after(map.messages, ranks);
    map.failed = after(map.peers, 2 * ranks);
    map.own_counts = after(map.failed, 4);
    map.own = after(map.own_counts, rows * std::int64_t{4});
    map.plans = map.own + rows * k * static_cast<std::int64_t>(sizeof(layout::Placement));
    map.barriers = map.plans + rows * k * std::int64_t{16};
    map.ring = round_up(map.barriers + rows * std::int64_t{16}, kSharedAlignment);
    map.row_bytes = round_up(payload_bytes, kSharedAlignment);
    map.bytes = map.ring + rows * map.row_bytes;
    return map;
  }
};

struct CombineBlockMap {
  std::int64_t peers = 0;         // [R] pointers
  std::int64_t failed = 0;        // u32
  std::int64_t in_barriers = 0;   // [in_rows] full, [in_rows] empty
  std::int64_t out_barriers = 0;  // the same of out_rows
  std::int64_t in = 0;            // [in_rows] rows as the experts left them
  std::int64_t out = 0;           // [out_rows] sums
  int in_rows = 0, out_rows = 0;
  std::int64_t row_bytes = 0;
  std::int64_t bytes = 0;

  // As many rows on their way in as fit: a block's first token has its rows loaded at once.
  BRAID_HD static constexpr CombineBlockMap of(int num_ranks, std::int64_t row_bytes, bool sums) {
    CombineBlockMap map;
    const auto after = [](std::int64_t at, std::int64_t bytes) {
      return round_up(at + bytes, std::int64_t{16});
    };
    map.row_bytes = round_up(row_bytes, kSharedAlignment);
    map.out_rows = sums ? 3 : 0;
    map.failed = after(0, num_ranks * std::int64_t{8});
    map.in_barriers = after(map.failed, 4);
    map.out_barriers = map.in_barriers + kMostInRows * std::int64_t{16};
    map.in = round_up(map.out_barriers + map.out_rows * std::int64_t{16}, kSharedAlignment);
    const std::int64_t rows = (kSharedLimit - map.in) / map.row_bytes - map.out_rows;
    map.in_rows = static_cast<int>(max_of(std::int64_t{0}, min_of(rows, kMostInRows)));
    map.out = map.in + map.in_rows * map.row_bytes;
    map.bytes = map.out + map.out_rows * map.row_bytes;
    return map;
  }

 private:
  static constexpr std::int64_t kMostInRows = 16;
};

}  // namespace braid::cuda
