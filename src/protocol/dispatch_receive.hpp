// Dispatch's receive: from messages to rows of the experts, and the tables that combine reads.
#pragma once

#include "layout/scratch.hpp"
#include "protocol/control.hpp"

namespace braid::protocol {

namespace detail {

using layout::MessageHeader;
using layout::MessageShape;
using layout::Placement;

struct ReceiveTables {
  std::uint32_t* first_rows;  // [R][Le/G]
  std::uint32_t* messages;    // [R]

  template <Machine M>
  BRAID_HD static ReceiveTables of(M& m, const DispatchArgs& a) {
    const auto at = layout::DispatchReceiveScratch::of(a.rules.experts);
    return {reinterpret_cast<std::uint32_t*>(m.scratch() + at.first_rows),
            reinterpret_cast<std::uint32_t*>(m.scratch() + at.messages)};
  }
};

// Waits for a notice of `source`; 0 where the source is masked or did not come.
template <Machine M>
BRAID_HD std::uint32_t notice(M& m, const DispatchArgs& a, std::int64_t word, WaitTag tag,
                              std::uint32_t epoch) {
  if (!is_active(a.op, tag.peer)) return 0;
  const auto result =
      m.wait(reinterpret_cast<const Word*>(m.local() + word), epoch, tag,
             a.waited_ns == nullptr ? nullptr : a.waited_ns + tag.peer);
  return result.reached ? layout::value_of(result.seen) : 0;
}

// Waits for the round's notices of all sources, and counts where each source's rows begin.
template <Machine M>
BRAID_HD void read_notices(M& m, const DispatchArgs& a, const ReceiveTables& tables, int round,
                           std::uint32_t epoch) {
  const ExpertMap& experts = a.rules.experts;
  const int per_round = experts.per_round();
  const int depth = depth_of(a.op, epoch);
  WaitTag tag{Operation::kDispatchReceive, round, 0};
  for (int source = m.thread(); source < experts.num_ranks; source += m.num_threads()) {
    tag.peer = source;
    // Another node's words are put like its rows: all of them are there after its signal.
    if (!m.reachable(source)) {
      notice(m, a, a.op.map.signal_flag(layout::Signal::kDispatch, depth, source, round), tag,
             epoch);
    }
  }
  m.sync_worker();
  if (m.failed()) return;
  const int num_words = experts.num_ranks * per_round;
  for (int i = m.thread(); i < num_words; i += m.num_threads()) {
    tag.peer = i / per_round;
    const int expert = round * per_round + i % per_round;
    tables.first_rows[i] =
        notice(m, a, a.op.map.count_word(depth, tag.peer, expert), tag, epoch);
  }
  for (int source = m.thread(); source < experts.num_ranks; source += m.num_threads()) {
    tag.peer = source;
    tables.messages[source] = 0;
    for (int earlier = 0; earlier <= round; ++earlier) {
      tables.messages[source] +=
          notice(m, a, a.op.map.messages_word(depth, source, earlier), tag, epoch);
    }
    if (round > 0 || m.worker() > 0) continue;
    *reinterpret_cast<std::uint32_t*>(
        a.op.local + a.op.local_map.terms_count(a.op.handle_slot, source)) =
        notice(m, a, a.op.map.namings_word(depth, source), tag, epoch);
  }
  m.sync_worker();
  for (int i = m.thread(); i < per_round; i += m.num_threads()) {
    std::uint32_t rows = 0;
    for (int source = 0; source < experts.num_ranks; ++source) {
      std::uint32_t& first = tables.first_rows[source * per_round + i];
      const std::uint32_t count = first;
      first = rows;
      rows += count;
    }
    if (m.worker() > 0 || m.failed()) continue;
    const int expert = round * per_round + i;
    *reinterpret_cast<std::uint32_t*>(
        a.op.local + a.op.local_map.expert_count(a.op.handle_slot, expert)) = rows;
    a.out_counts[expert] = static_cast<std::int32_t>(rows);
    if (a.received_total != nullptr) a.received_total[expert] += rows;
  }
  m.sync_worker();
}

// Places one message's rows of this round. A warp's work.
template <Machine M>
BRAID_HD void place_message(M& m, const DispatchArgs& a, const ReceiveTables& tables, int round,
                            int source, const std::byte* message) {
  const MessageShape shape = MessageShape::of(a.format, a.op.map.shape.hidden);
  const ExpertMap& experts = a.rules.experts;
  const auto& header = *reinterpret_cast<const MessageHeader*>(message + shape.header_at);
  const auto* placements = reinterpret_cast<const Placement*>(message + shape.placements_at);
  const std::int64_t capacity = a.op.map.shape.row_capacity();
  const auto k = static_cast<std::uint32_t>(a.topk.k);
  machine::Staged staged;
  std::int64_t row_idx = 0;
  std::uint32_t slot = 0;
  for (std::uint32_t i = 0; i < header.num_placements; ++i) {
    const Placement placement = placements[i];
    const int expert = placement.local_expert();
    if (experts.round_of_local(expert) != round) continue;
    const int in_round = expert - round * experts.per_round();
    const std::uint32_t row =
        tables.first_rows[source * experts.per_round() + in_round] + placement.row;
    row_idx = expert * capacity + row;
    slot = header.token * k + static_cast<std::uint32_t>(placement.choice());
    if (m.lane() == 0) {
      *reinterpret_cast<layout::SumTerm*>(
          a.op.local + a.op.local_map.term(a.op.handle_slot, source, placement.list_pos)) = {
          slot, static_cast<std::uint32_t>(row_idx), placement.weight, 0};
    }
    if (placement.repeat()) continue;
    if (m.lane() == 0) {
      *reinterpret_cast<layout::RowOrigin*>(
          a.op.local + a.op.local_map.origin(a.op.handle_slot, expert, row)) = {
          static_cast<std::uint32_t>(source), slot};
    }
    if (staged.data == nullptr) staged = m.stage(message, shape.payload_bytes());
    m.copy(staged, 0, shape.data_bytes, a.out_x + row_idx * shape.data_bytes);
    if (shape.scale_bytes > 0) {
      m.copy(staged, shape.scales_at, shape.scale_bytes,
             a.out_scales + row_idx * shape.scale_bytes);
    }
  }
  m.drain();
}

}  // namespace detail

// One round's receive. Every worker of the rank runs it; collective over the worker.
template <Machine M>
BRAID_HD void dispatch_receive(M& m, const DispatchArgs& a, int round) {
  const auto tables = detail::ReceiveTables::of(m, a);
  const std::uint32_t epoch = record_of(a.op).dispatch_epoch;
  const int depth = depth_of(a.op, epoch);
  detail::read_notices(m, a, tables, round, epoch);
  if (!m.failed()) {
    WaitTag tag{Operation::kDispatchReceive, round, 0};
    const std::int64_t step = std::int64_t{m.num_workers()} * m.num_warps();
    std::int64_t slot = std::int64_t{m.worker()} * m.num_warps() + m.warp();
    for (tag.peer = 0; tag.peer < a.rules.experts.num_ranks; ++tag.peer) {
      const std::int64_t messages = tables.messages[tag.peer];
      for (; slot < messages; slot += step) {
        if (m.reachable(tag.peer)) {
          const auto* flag = reinterpret_cast<const Word*>(
              m.local() + a.op.map.arrived_flag(depth, tag.peer, slot));
          const auto result =
              m.wait_warp(flag, epoch, tag,
                          a.waited_ns == nullptr ? nullptr : a.waited_ns + tag.peer);
          if (!result.reached) break;
        }
        detail::place_message(m, a, tables, round, tag.peer,
                              m.local() + a.op.map.message(depth, tag.peer, slot));
      }
      if (slot < messages) break;
      slot -= messages;
    }
  }
  close_receive(m, a.op, Phase::kDispatchReceive, epoch,
                round == a.rules.experts.num_rounds - 1);
}

}  // namespace braid::protocol
