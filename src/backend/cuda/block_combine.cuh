// Combine's whole role for blocks of a GPU: BF16 rows, one round. Layout, flags and what they
// promise are those of src/protocol; the work is shared out for this machine.
//
// Where both phases are one launch, what is the rank's own is summed where the experts left it: it
// crosses no slot.
#pragma once

#include "backend/cuda/block_combine_receive.cuh"

namespace braid::cuda {

template <bool kAtExpertRank, int kUnits>
__device__ inline void block_combine_send(const CombineBlockArgs& args, std::byte* shared,
                                          int worker) {
  CombineContext c(args, shared, worker, layout::Phase::kCombineSend);
  CombineSender<kAtExpertRank> sender(c);
  const Share all{worker, args.machine.num_workers};
  const Homeward first = sender.load_first(all);
  sender.begin(kAtExpertRank ? kRowWarps : 1);
  sender.template run<kUnits>(all, first);
  c.move_state();
}

template <bool kAtExpertRank, int kUnits>
__device__ inline void block_combine_receive(const CombineBlockArgs& args, std::byte* shared,
                                             int worker) {
  CombineContext c(args, shared, worker, layout::Phase::kCombineReceive);
  CombineReceiver<kAtExpertRank, kUnits> receiver(c);
  const Share all{worker, args.machine.num_workers};
  const auto first = receiver.load_token(all.first);
  const std::uint32_t epoch = protocol::record_of(c.a.op).combine_epoch;
  const std::uint32_t dispatched = protocol::record_of(c.a.op).dispatch_epoch;
  c.load_ranks();
  if (c.place.thread == 0) *c.at<std::uint32_t>(c.map.failed) = 0;
  __syncthreads();
  c.set_epochs(epoch, dispatched);
  c.settle_ranks();
  receiver.run(all, first);
  receiver.end();
  receiver.raise_received();
}

// All blocks of all ranks are resident; at the token rank a rank has two at least. Rows of the
// token rank fill the link: few blocks send them, and the others sum what has come. That this rank
// has received is said by its next operation: to find out which block is the last would be at the
// end of everything else.
template <bool kAtExpertRank, int kUnits>
__device__ inline void block_combine(const CombineBlockArgs& args, std::byte* shared, int worker) {
  CombineContext c(args, shared, worker, layout::Phase::kCombineReceive);
  c.keeps_own = true;
  CombineSender<kAtExpertRank> sender(c);
  CombineReceiver<kAtExpertRank, kUnits> receiver(c);
  const int workers = args.machine.num_workers;
  const int senders = kAtExpertRank ? 0 : max_of(1, workers * 2 / 5);
  const bool sends = senders == 0 || worker < senders;
  const bool receives = senders == 0 || !sends;
  const Share out{worker, senders == 0 ? workers : senders};
  const Share in{worker - senders, workers - senders};
  Homeward home;
  typename CombineReceiver<kAtExpertRank, kUnits>::Arriving token;
  if (sends) home = sender.load_first(out);
  sender.begin(kAtExpertRank || receives ? kRowWarps : 1);
  if (receives) token = receiver.load_token(in.first);
  if (sends) sender.template run<kUnits>(out, home);
  c.move_state();
  if (receives) receiver.run(in, token);
  receiver.end();
}

}  // namespace braid::cuda
