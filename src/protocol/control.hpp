// What every operation's phases share: epochs, depths, slot reuse, the signals at the end. Op is
// the OperationArgs of either kind of buffer.
#pragma once

#include "protocol/args.hpp"

namespace braid::protocol {

using layout::HandleRecord;
using layout::Phase;
using layout::Word;
using machine::Machine;
using machine::Operation;
using machine::WaitTag;

BRAID_HD inline HandleRecord& record_of(const OperationArgs& op) {
  return *reinterpret_cast<HandleRecord*>(op.local + op.local_map.record(op.handle_slot));
}
template <class Op>
BRAID_HD layout::OperationState& state_of(const Op& op) {
  return *reinterpret_cast<layout::OperationState*>(op.local + op.local_map.state.offset);
}
// Read from memory by every phase, so that a change reaches a captured graph.
template <class Op>
BRAID_HD bool is_active(const Op& op, int rank) {
  return reinterpret_cast<const std::uint32_t*>(op.local + op.local_map.active.offset)[rank] != 0;
}
template <class Op>
BRAID_HD int depth_of(const Op& op, std::uint32_t epoch) {
  // A GPU divides slowly by what the compiler does not know.
  const auto depth = static_cast<std::uint32_t>(op.map.shape.depth);
  if (depth == 3) return static_cast<int>(epoch % 3);
  return static_cast<int>(depth == 2 ? epoch % 2 : epoch % depth);
}

// Names the puts of one operation, phase and round towards a destination.
BRAID_HD constexpr std::uint64_t operation_id(std::uint32_t epoch, Phase phase, int round) {
  return static_cast<std::uint64_t>(epoch) << 32 | static_cast<std::uint64_t>(phase) << 24 |
         static_cast<std::uint64_t>(round);
}

// The epoch of an operation's send: its first round takes the next one.
BRAID_HD inline std::uint32_t epoch_of_send(const OperationArgs& op, std::uint32_t recorded_epoch,
                                            int round) {
  return round > 0 ? recorded_epoch : state_of(op).epoch + 1;
}

// What the operation before has left unsaid: its depth may be written again. One worker's.
template <Machine M, class Op>
BRAID_HD void raise_unraised(M& m, const Op& op) {
  const std::uint32_t epoch = state_of(op).unraised;
  if (epoch == 0) return;
  m.for_threads(op.map.shape.num_ranks, [&](int peer) {
    if (!is_active(op, peer) || !m.reachable(peer)) return;
    m.raise(peer, op.map.received_flag(depth_of(op, epoch), m.rank()), layout::make_word(epoch, 0));
  });
}

// Before anything of the operation is written: waits until every peer has received what this depth
// held before, D operations ago. All of the worker's threads call it; after the next sync_worker
// m.failed() tells whether a peer did not come.
template <Machine M, class Op>
BRAID_HD void await_depth(M& m, const Op& op, std::uint32_t epoch, WaitTag tag,
                          std::int64_t* waited_ns) {
  const auto depth = static_cast<std::uint32_t>(op.map.shape.depth);
  if (tag.round == 0 && m.worker() == 0) raise_unraised(m, op);
  if (tag.round > 0 || epoch <= depth) return;
  // This flag moves on: a late worker may find that the peer has received this operation already.
  m.for_threads(op.map.shape.num_ranks, [&](int peer) {
    if (!is_active(op, peer)) return;
    const auto* flag =
        reinterpret_cast<const Word*>(m.local() + op.map.received_flag(depth_of(op, epoch), peer));
    m.wait(flag, epoch - depth, WaitTag{tag.operation, tag.round, peer, machine::Until::kAtLeast},
           waited_ns == nullptr ? nullptr : waited_ns + peer);
  });
}

template <Machine M>
BRAID_HD bool all_reachable(const M& m, int num_ranks) {
  for (int rank = 0; rank < num_ranks; ++rank) {
    if (!m.reachable(rank)) return false;
  }
  return true;
}

struct SendEnd {
  layout::Signal signal;
  Phase phase;
  int round = 0;
  std::uint32_t epoch = 0;
  std::uint32_t* recorded_epoch = nullptr;
};

// Of one warp of each worker, after sync_worker: whether its worker is the phase's last.
template <Machine M>
BRAID_HD bool last_of(M& m, const OperationArgs& op, Phase phase) {
  return m.last_worker(&record_of(op).workers_done[static_cast<int>(phase)]);
}

// The end of a round's send, a warp of the last worker's: stores the epoch (first round) and raises
// the round's signal at every active peer. Where a peer is reachable each message has its own flag
// already, and the signal says only that this rank has come this far.
template <Machine M>
BRAID_HD void end_send(M& m, const OperationArgs& op, const SendEnd& end) {
  if (end.round == 0 && m.lane() == 0) {
    *end.recorded_epoch = end.epoch;
    state_of(op).epoch = end.epoch;
    state_of(op).unraised = 0;
  }
  if (m.failed()) return;
  const std::uint64_t id = operation_id(end.epoch, end.phase, end.round);
  const std::int64_t flag =
      op.map.signal_flag(end.signal, depth_of(op, end.epoch), m.rank(), end.round);
  m.for_lanes(op.map.shape.num_ranks, [&](int peer) {
    if (!is_active(op, peer)) return;
    const Word word = layout::make_word(end.epoch, 0);
    if (m.reachable(peer)) {
      m.raise(peer, flag, word);
    } else {
      m.signal(peer, id, flag, word);
    }
  });
}

// The end of the last round's receive, a warp of the last worker's: tells every active peer that
// this depth may be written again.
template <Machine M>
BRAID_HD void end_receive(M& m, const OperationArgs& op, Phase phase, std::uint32_t epoch) {
  if (m.failed()) return;
  const std::int64_t flag = op.map.received_flag(depth_of(op, epoch), m.rank());
  m.for_lanes(op.map.shape.num_ranks, [&](int peer) {
    if (!is_active(op, peer)) return;
    const Word word = layout::make_word(epoch, 0);
    if (m.reachable(peer)) {
      m.raise(peer, flag, word);
    } else {
      m.signal(peer, operation_id(epoch, phase, 0), flag, word);
    }
  });
}

}  // namespace braid::protocol
