// What both phases of dispatch's block role share.
#pragma once

#include "backend/cuda/block_context.cuh"

namespace braid::cuda {

struct DispatchContext : BlockContext<DispatchBlockArgs, protocol::DispatchArgs, DispatchBlockMap> {
  const layout::MessageShape& shape;
  RowRing ring;
  int first_token, num_tokens;  // the block's
  bool keeps_own = false;       // rows to this rank itself stay in the ring until they are placed

  // last_phase: of this kernel.
  __device__ DispatchContext(const DispatchBlockArgs& block_args, std::byte* block_memory,
                             int worker, layout::Phase last_phase)
      : BlockContext(block_args, block_args.dispatch,
                     {block_args.machine, block_args.dispatch.op, worker}, last_phase,
                     block_memory),
        shape(block_args.shape),
        ring({shared + map.ring, at<std::uint64_t>(map.barriers), map.row_bytes, kRingRows},
             block_args.machine.arriving_lanes),
        first_token(args.tokens.first(worker)),
        num_tokens(args.tokens.count(worker)) {}

  __device__ int num_local() const { return args.num_local; }
  __device__ void move_state() {
    BlockContext::move_state(&protocol::record_of(a.op).dispatch_epoch);
  }
};

}  // namespace braid::cuda
