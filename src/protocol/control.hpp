// What every operation's phases share: epochs, depths, slot reuse, the signals at the end.
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
BRAID_HD inline layout::OperationState& state_of(const OperationArgs& op) {
  return *reinterpret_cast<layout::OperationState*>(op.local + op.local_map.state.offset);
}
// Read from memory by every phase, so that a change reaches a captured graph.
BRAID_HD inline bool is_active(const OperationArgs& op, int rank) {
  return reinterpret_cast<const std::uint32_t*>(op.local + op.local_map.active.offset)[rank] != 0;
}
BRAID_HD inline int depth_of(const OperationArgs& op, std::uint32_t epoch) {
  return static_cast<int>(epoch % static_cast<std::uint32_t>(op.map.shape.depth));
}

// Names the puts of one operation, phase and round towards a destination.
BRAID_HD constexpr std::uint64_t operation_id(std::uint32_t epoch, Phase phase, int round) {
  return static_cast<std::uint64_t>(epoch) << 32 | static_cast<std::uint64_t>(phase) << 24 |
         static_cast<std::uint64_t>(round);
}

// The epoch of an operation's send. Its first round takes the next one and waits until every peer
// has received what this depth held before, D operations ago. Collective over the worker; all
// threads get the same, and m.failed() tells whether a peer did not come.
template <Machine M>
BRAID_HD std::uint32_t open_send(M& m, const OperationArgs& op, std::uint32_t recorded_epoch,
                                 WaitTag tag, std::int64_t* waited_ns) {
  if (tag.round > 0) return recorded_epoch;
  const std::uint32_t epoch = state_of(op).epoch + 1;
  const auto depth = static_cast<std::uint32_t>(op.map.shape.depth);
  if (epoch > depth) {
    for (int peer = m.thread(); peer < op.map.shape.num_ranks; peer += m.num_threads()) {
      if (!is_active(op, peer)) continue;
      tag.peer = peer;
      const auto* flag = reinterpret_cast<const Word*>(
          m.local() + op.map.received_flag(depth_of(op, epoch), peer));
      m.wait(flag, epoch - depth, tag, waited_ns == nullptr ? nullptr : waited_ns + peer);
    }
  }
  m.sync_worker();
  return epoch;
}

struct SendEnd {
  layout::Signal signal;
  Phase phase;
  int round = 0;
  std::uint32_t epoch = 0;
  std::uint32_t* recorded_epoch = nullptr;
};

// The end of a round's send: the last worker stores the epoch (first round) and raises the round's
// signal at every active peer. Where a peer is reachable each message has its own flag already, and
// the signal says only that this rank has come this far.
template <Machine M>
BRAID_HD void close_send(M& m, const OperationArgs& op, const SendEnd& end) {
  if (!m.all_workers_done(&record_of(op).workers_done[static_cast<int>(end.phase)])) return;
  if (end.round == 0 && m.thread() == 0) {
    *end.recorded_epoch = end.epoch;
    state_of(op).epoch = end.epoch;
  }
  if (m.failed()) return;
  const std::uint64_t id = operation_id(end.epoch, end.phase, end.round);
  const std::int64_t flag =
      op.map.signal_flag(end.signal, depth_of(op, end.epoch), m.rank(), end.round);
  for (int peer = m.thread(); peer < op.map.shape.num_ranks; peer += m.num_threads()) {
    if (!is_active(op, peer)) continue;
    const Word word = layout::make_word(end.epoch, 0);
    if (m.reachable(peer)) {
      m.raise(peer, flag, word);
    } else {
      m.signal(peer, id, flag, word);
    }
  }
}

// The end of a round's receive: after the last round the last worker tells every active peer that
// this depth may be written again.
template <Machine M>
BRAID_HD void close_receive(M& m, const OperationArgs& op, Phase phase, std::uint32_t epoch,
                            bool last_round) {
  if (!m.all_workers_done(&record_of(op).workers_done[static_cast<int>(phase)])) return;
  if (!last_round || m.failed()) return;
  const std::int64_t flag = op.map.received_flag(depth_of(op, epoch), m.rank());
  for (int peer = m.thread(); peer < op.map.shape.num_ranks; peer += m.num_threads()) {
    if (!is_active(op, peer)) continue;
    const Word word = layout::make_word(epoch, 0);
    if (m.reachable(peer)) {
      m.raise(peer, flag, word);
    } else {
      m.signal(peer, operation_id(epoch, phase, 0), flag, word);
    }
  }
}

}  // namespace braid::protocol
