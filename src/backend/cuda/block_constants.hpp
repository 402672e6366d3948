// The shape of a block of the block roles.
//
// Fourteen warps work on rows: 7168 channels are sixteen for each of their threads. One plans or
// loads ahead, one sends: each of the two is alone with its instructions, and a flag's way to
// memory is long. More than sixteen warps would leave a thread 96 registers instead of 128.
#pragma once

#include "backend/cuda/shared_map.hpp"

namespace braid::cuda {

inline constexpr int kRowWarps = 14;
inline constexpr int kRowThreads = kRowWarps * kWarpLanes;
inline constexpr int kAheadWarp = kRowWarps;
inline constexpr int kSendingWarp = kRowWarps + 1;
inline constexpr int kBlockWarps = kRowWarps + 2;
inline constexpr int kBlockThreads = kBlockWarps * kWarpLanes;
inline constexpr int kUnitChannels = 16;  // of a row, that a thread has at a time
inline constexpr int kMostUnits = 2;      // of a row, that a thread has
inline constexpr int kMostBlockHidden = kMostUnits * kRowThreads * kUnitChannels;

// Rows whose flags are raised together, behind one fence; as many again are on their way meanwhile.
inline constexpr int kBatchRows = 4;
// Encoded rows in shared memory: being written, waiting, and being read on their way.
inline constexpr int kRingRows = 6;
// At the token rank a token's rows are dealt out to so many pieces of work: the blocks that send
// have few tokens each, which have different numbers of rows.
inline constexpr int kHomeParts = 4;

// Named barriers of a block; 0 is __syncthreads.
inline constexpr int kReadBarrier = 1;  // row warps arrive, the sending warp waits
inline constexpr int kRowBarrier = 2;   // the row warps' own
inline constexpr int kDepthBarrier =
    3;  // the sending warp arrives: the depth is free at every peer
inline constexpr int kReadThreads = kRowThreads + kWarpLanes;

}  // namespace braid::cuda
