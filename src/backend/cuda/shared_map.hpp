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

inline constexpr int kMostPlaces = 4;  // of a warp's rows on their way

// Of a nested sum's row, what a warp sums at once: two vectors of eight channels a lane.
inline constexpr int kStepVectors = 2 * kWarpLanes;
inline constexpr std::int64_t kStepBytes = 16 * kStepVectors;

// How many warps a block has, and how many places for rows each of them.
struct WarpPlaces {
  int num_warps = 0;
  int num_senders = 0;    // the first ones
  int sender_places = 1;  // up to kMostPlaces
  int other_places = 1;   // of the others; 0: they stage nothing
};

// What a role needs of its block.
struct SharedNeeds {
  std::int64_t scratch_bytes = 0;  // layout::scratch_bytes
  std::int64_t row_bytes = 0;      // the longest that is staged at once
  std::int64_t fetched_bytes = 0;  // of a row that waits to be encoded, if any does
  int block_rows = 2;              // rows that are staged by the block together
};

struct SharedMap {
  WarpPlaces warps;
  std::int64_t barriers = 0;  // one for each of the block's rows, then kMostPlaces a warp
  std::int64_t scratch = 0;
  std::int64_t block_rows = 0;    // two, taken in turn, or none
  std::int64_t warp_rows = 0;     // by warp and place
  std::int64_t fetched_rows = 0;  // two, taken in turn
  std::int64_t row_bytes = 0;
  std::int64_t fetched_bytes = 0;
  std::int64_t bytes = 0;

  BRAID_HD static constexpr int barriers_of(int num_warps) { return 2 + kMostPlaces * num_warps; }
  BRAID_HD constexpr int num_threads() const { return warps.num_warps * kWarpLanes; }
  // The first of a warp's places.
  BRAID_HD constexpr int first_place(int warp) const {
    return min_of(warp, warps.num_senders) * warps.sender_places +
           max_of(warp - warps.num_senders, 0) * warps.other_places;
  }

  BRAID_HD static constexpr SharedMap of(const SharedNeeds& needs, const WarpPlaces& warps) {
    SharedMap map;
    map.warps = warps;
    map.row_bytes = round_up(needs.row_bytes, kSharedAlignment);
    map.fetched_bytes = round_up(needs.fetched_bytes, kSharedAlignment);
    map.scratch = round_up(barriers_of(warps.num_warps) * std::int64_t{8}, kSharedAlignment);
    map.block_rows = map.scratch + round_up(needs.scratch_bytes, kSharedAlignment);
    map.warp_rows = map.block_rows + needs.block_rows * map.row_bytes;
    map.fetched_rows = map.warp_rows + map.first_place(warps.num_warps) * map.row_bytes;
    map.bytes = map.fetched_rows + 2 * map.fetched_bytes;
    return map;
  }
};

}  // namespace braid::cuda
