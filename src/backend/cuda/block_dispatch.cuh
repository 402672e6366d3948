// Dispatch's whole role for blocks of a GPU: one round, one copy a rank. Layout, flags and what
// they promise are those of src/protocol; the work is shared out for this machine.
//
// Where both phases are one launch, a block's own rows go from shared memory to its own rank's
// experts: they cross no slot.
#pragma once

#include "backend/cuda/block_dispatch_receive.cuh"
#include "backend/cuda/block_dispatch_send.cuh"

namespace braid::cuda {

template <bool kFp8, int kUnits>
__device__ inline void block_dispatch_send(const DispatchBlockArgs& args, std::byte* shared,
                                           int worker) {
  DispatchContext c(args, shared, worker, layout::Phase::kDispatchSend);
  DispatchSender<kFp8, kUnits>(c).run();
  c.move_state();
}

__device__ inline void block_dispatch_receive(const DispatchBlockArgs& args, std::byte* shared,
                                              int worker) {
  DispatchContext c(args, shared, worker, layout::Phase::kDispatchReceive);
  const std::uint32_t epoch = protocol::record_of(c.a.op).dispatch_epoch;
  c.load_ranks();
  if (c.place.thread == 0) *c.at<std::uint32_t>(c.map.failed) = 0;
  __syncthreads();
  c.set_epoch(epoch);
  c.settle_ranks();
  DispatchReceiver receiver(c);
  receiver.run();
  receiver.end();
}

// All blocks of all ranks are resident. That this rank has received is said by its next operation:
// to find out which block is the last would be at the end of everything else.
template <bool kFp8, int kUnits>
__device__ inline void block_dispatch(const DispatchBlockArgs& args, std::byte* shared,
                                      int worker) {
  DispatchContext c(args, shared, worker, layout::Phase::kDispatchReceive);
  c.keeps_own = args.tokens.most() <= kRingRows;
  DispatchSender<kFp8, kUnits>(c).run();
  c.move_state();
  DispatchReceiver(c).run();
}

}  // namespace braid::cuda
