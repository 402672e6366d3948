// What both phases of dispatch's block role share.
#pragma once

#include "backend/cuda/block.cuh"
#include "backend/cuda/block_args.hpp"

namespace braid::cuda {

struct DispatchContext {
  const DispatchBlockArgs& args;
  const protocol::DispatchArgs& a;
  const layout::MessageShape& shape;
  const DispatchBlockMap& map;
  BlockPlace place;
  layout::Phase phase;
  std::uint32_t left_state = 0;  // blocks that had left the state before; the sending warp's
  std::byte* shared;
  RowRing ring;
  int first_token, num_tokens;      // the block's
  std::uint32_t lane_active = 0;    // whether the lane's rank is
  std::uint32_t active = 0;         // a bit for each rank, once settled; a warp's own
  std::byte* peer_block = nullptr;  // of the lane's rank
  std::uint32_t epoch = 0;
  int depth = 0;
  bool keeps_own = false;  // rows to this rank itself stay in the ring until they are placed

  // last_phase: of this kernel.
  __device__ DispatchContext(const DispatchBlockArgs& block_args, std::byte* block_memory,
                             int worker, layout::Phase last_phase)
      : args(block_args),
        a(block_args.dispatch),
        shape(block_args.shape),
        map(block_args.map),
        place(block_args.machine, a.op, worker),
        phase(last_phase),
        shared(block_memory),
        ring(block_memory + map.ring, map.row_bytes,
             reinterpret_cast<std::uint64_t*>(block_memory + map.barriers), kRingRows),
        first_token(args.tokens.first(worker)),
        num_tokens(args.tokens.count(worker)) {}

  template <class T>
  __device__ T* at(int offset) const {
    return reinterpret_cast<T*>(shared + offset);
  }
  __device__ int k() const { return a.topk.k; }
  __device__ int num_local() const { return args.num_local; }
  __device__ int rank_of(int expert) const {
    return static_cast<int>(args.local_experts.quotient(static_cast<std::uint32_t>(expert)));
  }
  __device__ int num_ranks() const { return a.rules.experts.num_ranks; }
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
  // Of a kernel that sends; where it receives too, it leaves that unraised.
  __device__ void move_state() const {
    if (!place.sends()) return;
    const bool receives = phase == layout::Phase::kDispatchReceive;
    place.move_state(phase, left_state, epoch, receives ? epoch : 0,
                     &protocol::record_of(a.op).dispatch_epoch);
  }
};

}  // namespace braid::cuda
