// What a block knows of its operation: the same for dispatch and for combine.
#pragma once

#include "backend/cuda/block.cuh"
#include "backend/cuda/block_args.hpp"

namespace braid::cuda {

template <class BlockArgs, class Args, class Map>
struct BlockContext {
  const BlockArgs& args;
  const Args& a;
  const Map& map;
  BlockPlace place;
  layout::Phase phase;  // the last one of this kernel
  std::byte* shared;
  std::uint32_t left_state = 0;     // blocks that had left the state before; the sending warp's
  std::uint32_t lane_active = 0;    // whether the lane's rank is
  std::uint32_t active = 0;         // a bit for each rank, once settled; a warp's own
  std::byte* peer_block = nullptr;  // of the lane's rank
  std::uint32_t epoch = 0;
  int depth = 0;

  __device__ BlockContext(const BlockArgs& block_args, const Args& operation,
                          const BlockPlace& block_place, layout::Phase last_phase,
                          std::byte* block_memory)
      : args(block_args),
        a(operation),
        map(block_args.map),
        place(block_place),
        phase(last_phase),
        shared(block_memory) {}

  template <class T>
  __device__ T* at(int offset) const {
    return reinterpret_cast<T*>(shared + offset);
  }
  __device__ int k() const { return a.topk.k; }
  __device__ int num_ranks() const { return place.num_ranks(); }
  __device__ int rank_of(int expert) const {
    return static_cast<int>(args.local_experts.quotient(static_cast<std::uint32_t>(expert)));
  }
  __device__ std::int64_t* waited(int peer) const {
    return a.waited_ns == nullptr ? nullptr : a.waited_ns + peer;
  }
  __device__ bool failed() const { return *at<volatile std::uint32_t>(map.failed) != 0; }
  __device__ void note(bool missed) const {
    if (missed) ptx::red_or_relaxed_cta_shared_u32(at<std::uint32_t>(map.failed), 1);
  }
  __device__ void set_epoch(std::uint32_t this_epoch) {
    epoch = this_epoch;
    depth = protocol::depth_of(a.op, this_epoch);
  }
  __device__ bool is_active(int rank) const { return (active >> rank & 1u) != 0; }
  // Of the ranks, a lane each; a warp's own, so that no other waits for it. Settled when the warp
  // can't go on without: they may be on their way meanwhile.
  __device__ void load_ranks() {
    if (place.lane >= num_ranks()) return;
    peer_block = place.machine.peers[place.lane];
    lane_active = place.active()[place.lane];
  }
  __device__ void settle_ranks() { active = __ballot_sync(kAllLanes, lane_active != 0); }
  // Every lane asks, each for a rank of its own.
  __device__ std::byte* peer(int rank) const {
    return reinterpret_cast<std::byte*>(__shfl_sync(
        kAllLanes, reinterpret_cast<unsigned long long>(peer_block), rank & (kWarpLanes - 1)));
  }

  // A kernel that only sends says early which blocks have read the state, so that nothing is left
  // to do at its end. One that receives too has other things to wait for then, and the release that
  // this takes would hold up its first rows: 0.7 us of a dispatch of 8 tokens (H200, 2026-11-26).
  __device__ bool receives() const {
    return phase == layout::Phase::kDispatchReceive || phase == layout::Phase::kCombineReceive;
  }
  // The sending warp's, after a barrier of the block by which every warp has read the state.
  __device__ void leave_state_early() {
    if (!receives()) left_state = place.leave_state(phase);
  }
  // Of a kernel that sends, when all of the block's sends are on their way; where it receives too,
  // it leaves that unraised.
  __device__ void move_state(std::uint32_t* recorded_epoch) {
    if (!place.sends()) return;
    if (receives()) left_state = place.leave_state(phase);
    place.move_state(phase, left_state, epoch, receives() ? epoch : 0, recorded_epoch);
  }
};

}  // namespace braid::cuda
