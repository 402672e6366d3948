// What both phases of combine's block role share.
#pragma once

#include "backend/cuda/block.cuh"
#include "backend/cuda/block_args.hpp"

namespace braid::cuda {

// Every step-th of some work, from first on.
struct Share {
  int first = 0;
  int step = 1;
};

// A lane's naming of a local expert by one token of a source, where there is one.
struct Term {
  std::uint32_t epoch = 0;
  std::uint32_t row = 0;
  float weight = 0.0F;
};

// A token that rows may go home to.
struct Homeward {
  int source = 0;
  int token = 0;
  Term term;
};

struct CombineContext {
  const CombineBlockArgs& args;
  const protocol::CombineArgs& a;
  const CombineBlockMap& map;
  BlockPlace place;
  layout::Phase phase;
  std::uint32_t left_state = 0;  // blocks that had left the state before; the sending warp's
  std::byte* shared;
  RowRing in, out;  // the experts' rows, and sums of them
  int hidden;
  std::uint32_t lane_active = 0;    // whether the lane's rank is
  std::uint32_t active = 0;         // a bit for each rank, once settled; a warp's own
  std::byte* peer_block = nullptr;  // of the lane's rank
  std::uint32_t epoch = 0, dispatched = 0;
  int depth = 0;
  bool keeps_own = false;  // this rank's own rows are summed where the experts left them
  bool may_send = false;   // the sending warp's: the depth is free at every peer

  // last_phase: of this kernel.
  __device__ CombineContext(const CombineBlockArgs& block_args, std::byte* block_memory, int worker,
                            layout::Phase last_phase)
      : args(block_args),
        a(block_args.combine),
        map(block_args.map),
        place(block_args.machine, a.op, worker),
        phase(last_phase),
        shared(block_memory),
        in(block_memory + map.in, map.row_bytes,
           reinterpret_cast<std::uint64_t*>(block_memory + map.in_barriers), map.in_rows),
        out(block_memory + map.out, map.row_bytes,
            reinterpret_cast<std::uint64_t*>(block_memory + map.out_barriers), map.out_rows),
        hidden(a.op.map.shape.hidden) {}

  template <class T>
  __device__ T* at(int offset) const {
    return reinterpret_cast<T*>(shared + offset);
  }
  __device__ int k() const { return a.topk.k; }
  __device__ int num_ranks() const { return a.experts.num_ranks; }
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
  __device__ void set_epochs(std::uint32_t this_epoch, std::uint32_t dispatch_epoch) {
    epoch = this_epoch;
    depth = protocol::depth_of(a.op, this_epoch);
    dispatched = dispatch_epoch;
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
    const bool receives = phase == layout::Phase::kCombineReceive;
    place.move_state(phase, left_state, epoch, receives ? epoch : 0,
                     &protocol::record_of(a.op).combine_epoch);
  }
  __device__ std::uint32_t row_bytes() const { return static_cast<std::uint32_t>(2 * hidden); }
  __device__ const std::uint16_t* expert_row(std::uint32_t row) const {
    return a.x + static_cast<std::int64_t>(row) * hidden;
  }

  __device__ Term load_term(int source, int token) const {
    if (place.lane >= k()) return {};
    const auto words = *reinterpret_cast<const uint4*>(
        a.op.local +
        a.op.local_map.term(a.op.handle_slot, source, std::int64_t{token} * k() + place.lane));
    return {words.x, words.y, __uint_as_float(words.z)};
  }
  // The lanes whose naming is of the dispatch that is combined.
  __device__ unsigned named(const Term& term) const {
    return __ballot_sync(kAllLanes, place.lane < k() && term.epoch == dispatched);
  }

  // A source after another, the next rank's tokens first.
  __device__ int num_homes() const {
    return (num_ranks() - (keeps_own ? 1 : 0)) * a.op.map.shape.max_tokens;
  }
  __device__ Homeward load_home(int i) const {
    Homeward home;
    if (i >= num_homes()) return home;
    const auto step = static_cast<int>(args.max_tokens.quotient(static_cast<std::uint32_t>(i)));
    home.source = place.rank() + 1 + step;
    if (home.source >= num_ranks()) home.source -= num_ranks();
    home.token = i - step * a.op.map.shape.max_tokens;
    home.term = load_term(home.source, home.token);
    return home;
  }
};

}  // namespace braid::cuda
