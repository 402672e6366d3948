// What both phases of combine's block role share.
#pragma once

#include "backend/cuda/block_context.cuh"

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
  std::uint32_t source_tokens = 0;
};

// A token that rows may go home to.
struct Homeward {
  int source = 0;
  int token = 0;
  Term term;
};

struct CombineContext : BlockContext<CombineBlockArgs, protocol::CombineArgs, CombineBlockMap> {
  RowRing in, out;  // the experts' rows, and sums of them
  int hidden;
  std::uint32_t dispatched = 0;  // the epoch of the dispatch that is combined
  bool keeps_own = false;        // this rank's own rows are summed where the experts left them
  bool may_send = false;         // the sending warp's: the depth is free at every peer

  // last_phase: of this kernel.
  __device__ CombineContext(const CombineBlockArgs& block_args, std::byte* block_memory, int worker,
                            layout::Phase last_phase)
      : BlockContext(block_args, block_args.combine,
                     {block_args.machine, block_args.combine.op, worker}, last_phase, block_memory),
        in({shared + map.in, at<std::uint64_t>(map.in_barriers), map.row_bytes, map.in_rows},
           block_args.machine.arriving_lanes),
        out({shared + map.out, at<std::uint64_t>(map.out_barriers), map.row_bytes, map.out_rows},
            block_args.machine.arriving_lanes),
        hidden(a.op.map.shape.hidden) {}

  __device__ void set_epochs(std::uint32_t this_epoch, std::uint32_t dispatch_epoch) {
    set_epoch(this_epoch);
    dispatched = dispatch_epoch;
  }
  __device__ void move_state() {
    BlockContext::move_state(&protocol::record_of(a.op).combine_epoch);
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
    return {words.x, words.y, __uint_as_float(words.z), words.w};
  }
  // The lanes whose naming is of the dispatch that is combined.
  __device__ unsigned named(const Term& term) const {
    return __ballot_sync(kAllLanes, place.lane < k() && term.epoch == dispatched);
  }

  // Whether the sum of these namings, of one token, goes home as words.
  __device__ bool as_words(const Term& term, unsigned rows) const {
    return a.as_words(__shfl_sync(kAllLanes, term.source_tokens, __ffs(rows) - 1));
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
