// A block's dynamic shared memory: one map for the launch and for the machine.
#pragma once

#include <cstdint>

#include "base/device.hpp"
#include "base/math.hpp"

namespace braid::cuda {

inline constexpr int kWarpLanes = 32;
inline constexpr int kMostWarps = 16;  // of a block: 512 threads leave each 128 registers
inline constexpr std::int64_t kSharedAlignment = 128;
inline constexpr std::int64_t kSharedLimit = 232448;  // of a block on Hopper: 227 KiB

// What a role needs of its block.
struct SharedNeeds {
  std::int64_t scratch_bytes = 0;  // layout::scratch_bytes
  std::int64_t row_bytes = 0;      // the longest that is staged at once
  std::int64_t fetched_bytes = 0;  // of a row that waits to be encoded, if any does
  int block_rows = 2;              // rows that are staged by the block together
};

struct SharedMap {
  int num_warps = 0;
  std::int64_t barriers = 0;  // two a warp, and one for each of the block's rows
  std::int64_t scratch = 0;
  std::int64_t block_rows = 0;    // two, taken in turn, or none
  std::int64_t warp_rows = 0;     // one a warp
  std::int64_t fetched_rows = 0;  // two, taken in turn
  std::int64_t row_bytes = 0;
  std::int64_t fetched_bytes = 0;
  std::int64_t bytes = 0;

  BRAID_HD static constexpr SharedMap of(const SharedNeeds& needs, int num_warps) {
    SharedMap map;
    map.num_warps = num_warps;
    map.row_bytes = round_up(needs.row_bytes, kSharedAlignment);
    map.fetched_bytes = round_up(needs.fetched_bytes, kSharedAlignment);
    map.scratch = round_up((2 * num_warps + std::int64_t{2}) * 8, kSharedAlignment);
    map.block_rows = map.scratch + round_up(needs.scratch_bytes, kSharedAlignment);
    map.warp_rows = map.block_rows + needs.block_rows * map.row_bytes;
    map.fetched_rows = map.warp_rows + num_warps * map.row_bytes;
    map.bytes = map.fetched_rows + 2 * map.fetched_bytes;
    return map;
  }
};

}  // namespace braid::cuda
