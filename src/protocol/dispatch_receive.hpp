// Dispatch's receive: from messages to rows of the experts, and the tables that combine reads.
#pragma once

#include "layout/scales.hpp"
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
    const auto at = layout::DispatchReceiveScratch::of(a.rules.experts, a.topk.k);
    return {reinterpret_cast<std::uint32_t*>(m.scratch() + at.first_rows),
            reinterpret_cast<std::uint32_t*>(m.scratch() + at.messages)};
  }
};

// Waits for a notice of `source`; 0 where the source is masked or did not come.
template <Machine M>
BRAID_HD std::uint32_t notice(M& m, const DispatchArgs& a, std::int64_t word, WaitTag tag,
                              std::uint32_t epoch) {
  if (!is_active(a.op, tag.peer)) return 0;
  const auto result = m.wait(reinterpret_cast<const Word*>(m.local() + word), epoch, tag,
                             a.waited_ns == nullptr ? nullptr : a.waited_ns + tag.peer);
  return result.reached ? layout::value_of(result.seen) : 0;
}

// Another node's words are put like its rows: all of them are there after its signal.
template <Machine M>
BRAID_HD void await_far_sources(M& m, const DispatchArgs& a, int round, std::uint32_t epoch) {
  const int num_ranks = a.rules.experts.num_ranks;
  if (all_reachable(m, num_ranks)) return;
  m.for_threads(num_ranks, [&](int source) {
    if (m.reachable(source)) return;
    notice(m, a,
           a.op.map.signal_flag(layout::Signal::kDispatch, depth_of(a.op, epoch), source, round),
           WaitTag{Operation::kDispatchReceive, round, source}, epoch);
  });
  m.sync_worker();
}

// Waits for the round's notices of all sources, and counts where each source's rows begin.
template <Machine M>
BRAID_HD void read_notices(M& m, const DispatchArgs& a, const ReceiveTables& tables, int round,
                           std::uint32_t epoch) {
  const ExpertMap& experts = a.rules.experts;
  const int per_round = experts.per_round();
  const int depth = depth_of(a.op, epoch);
  const layout::BufferMap& map = a.op.map;
  WaitTag tag{Operation::kDispatchReceive, round, 0};
  // A thread takes a word: rows of an expert, then messages.
  m.for_threads(experts.num_ranks * (per_round + 1), [&](int i) {
    const int source = i / (per_round + 1);
    const int word = i - source * (per_round + 1);
    tag.peer = source;
    if (word < per_round) {
      tables.first_rows[source * per_round + word] =
          notice(m, a, map.count_word(depth, source, round * per_round + word), tag, epoch);
    } else {
      std::uint32_t messages = 0;
      for (int earlier = 0; earlier <= round; ++earlier) {
        messages += notice(m, a, map.messages_word(depth, source, earlier), tag, epoch);
      }
      tables.messages[source] = messages;
    }
  });
  m.sync_worker();
  m.for_threads(per_round, [&](int i) {
    std::uint32_t rows = 0;
    for (int source = 0; source < experts.num_ranks; ++source) {
      std::uint32_t& first = tables.first_rows[source * per_round + i];
      const std::uint32_t count = first;
      first = rows;
      rows += count;
    }
    if (m.worker() > 0 || m.failed()) return;
    const int expert = round * per_round + i;
    *reinterpret_cast<std::uint32_t*>(a.op.local +
                                      a.op.local_map.expert_count(a.op.handle_slot, expert)) = rows;
    a.out_counts[expert] = static_cast<std::int32_t>(rows);
    if (a.received_total != nullptr) a.received_total[expert] += rows;
  });
  m.sync_worker();
}

struct Message {
  const std::byte* data = nullptr;
  int source = 0;
};

BRAID_HD inline const MessageHeader& header_of(const MessageShape& shape,
                                               const std::byte* message) {
  return *reinterpret_cast<const MessageHeader*>(message + shape.header_at);
}
BRAID_HD inline const Placement* placements_of(const MessageShape& shape,
                                               const std::byte* message) {
  return reinterpret_cast<const Placement*>(message + shape.placements_at);
}

// Whether a message has a row for this round.
BRAID_HD inline bool comes_in_round(const DispatchArgs& a, const MessageShape& shape,
                                    const std::byte* message, int round) {
  const std::uint32_t count = header_of(shape, message).num_placements;
  for (std::uint32_t i = 0; i < count; ++i) {
    const int expert = placements_of(shape, message)[i].local_expert();
    if (a.rules.experts.round_of_local(expert) == round) return true;
  }
  return false;
}

// The row of this round that a placement names, among the rows of its expert.
struct RowPlace {
  bool in_round = false;
  int expert = 0;
  std::uint32_t row = 0;
};

BRAID_HD inline RowPlace row_place(const ExpertMap& experts, const ReceiveTables& tables,
                                   WaitTag from, const Placement& placement) {
  const int per_round = experts.per_round();
  const int expert = placement.local_expert();
  const int in_round = expert - from.round * per_round;
  if (in_round < 0 || in_round >= per_round) return {};
  return {true, expert, tables.first_rows[from.peer * per_round + in_round] + placement.row};
}

// Scales by column: a row's words stand apart, so all lanes write one row's at a time.
template <Machine M>
BRAID_HD void place_columns(M& m, const DispatchArgs& a, const ReceiveTables& tables, WaitTag from,
                            const machine::Staged& staged) {
  const MessageShape shape = MessageShape::of(a.format, a.op.map.shape.hidden);
  const layout::ScaleShape scales{a.scale_layout, shape.scale_bytes / layout::kScaleWordBytes,
                                  a.op.map.shape.row_capacity()};
  const auto* words = reinterpret_cast<const std::uint32_t*>(staged.data + shape.scales_at);
  const std::uint32_t count = header_of(shape, staged.data).num_placements;
  for (std::uint32_t i = 0; i < count; ++i) {
    const Placement placement = placements_of(shape, staged.data)[i];
    const RowPlace place = row_place(a.rules.experts, tables, from, placement);
    if (!place.in_round || placement.repeat()) continue;
    std::byte* to = a.out_scales + scales.first(place.expert, place.row);
    m.for_lanes(static_cast<int>(scales.words), [&](int word) {
      *reinterpret_cast<std::uint32_t*>(to + word * scales.stride()) = words[word];
    });
  }
}

// Places one message's rows of this round, a placement a lane. A warp's work.
template <Machine M>
BRAID_HD void place_message(M& m, const DispatchArgs& a, const ReceiveTables& tables, int round,
                            std::uint32_t epoch, const Message& message) {
  const MessageShape shape = MessageShape::of(a.format, a.op.map.shape.hidden);
  const ExpertMap& experts = a.rules.experts;
  if (experts.num_rounds > 1 && !comes_in_round(a, shape, message.data, round)) return;
  // Header and placements come along with the row: one way to memory, not three.
  const auto staged = m.stage(message.data, shape.bytes(a.topk.k));
  const MessageHeader header = header_of(shape, staged.data);
  const WaitTag from{Operation::kDispatchReceive, round, message.source};
  const bool by_column = a.scale_layout == ScaleLayout::kColumnMajor;
  m.for_lanes(static_cast<int>(header.num_placements), [&](int i) {
    const Placement placement = placements_of(shape, staged.data)[i];
    const auto [in_round, expert, row] = row_place(experts, tables, from, placement);
    if (!in_round) return;
    const std::int64_t row_idx = expert * a.op.map.shape.row_capacity() + row;
    const std::uint32_t slot = header.token * static_cast<std::uint32_t>(a.topk.k) +
                               static_cast<std::uint32_t>(placement.choice());
    *reinterpret_cast<layout::SumTerm*>(
        a.op.local + a.op.local_map.term(a.op.handle_slot, message.source, slot)) = {
        epoch, static_cast<std::uint32_t>(row_idx), placement.weight, header.source_tokens};
    if (placement.repeat()) return;
    *reinterpret_cast<layout::RowOrigin*>(a.op.local +
                                          a.op.local_map.origin(a.op.handle_slot, expert, row)) = {
        static_cast<std::uint32_t>(message.source), slot};
    m.copy(staged, 0, shape.data_bytes, a.out_x + row_idx * shape.data_bytes);
    if (shape.scale_bytes > 0 && !by_column) {
      m.copy(staged, shape.scales_at, shape.scale_bytes,
             a.out_scales + row_idx * shape.scale_bytes);
    }
  });
  if (shape.scale_bytes > 0 && by_column) place_columns(m, a, tables, from, staged);
  m.drain();
}

// All of a round's receive but its end.
template <Machine M>
BRAID_HD void receive_messages(M& m, const DispatchArgs& a, int round, std::uint32_t epoch) {
  const auto tables = ReceiveTables::of(m, a);
  const int depth = depth_of(a.op, epoch);
  await_far_sources(m, a, round, epoch);
  if (!m.failed()) read_notices(m, a, tables, round, epoch);
  if (m.failed()) return;
  WaitTag tag{Operation::kDispatchReceive, round, 0};
  const std::int64_t step = std::int64_t{m.num_workers()} * m.num_warps();
  // Neighboring messages go to different workers: few messages use all of them.
  std::int64_t slot = std::int64_t{m.warp()} * m.num_workers() + m.worker();
  for (tag.peer = 0; tag.peer < a.rules.experts.num_ranks; ++tag.peer) {
    const std::int64_t messages = tables.messages[tag.peer];
    for (; slot < messages; slot += step) {
      if (m.reachable(tag.peer)) {
        const auto* flag =
            reinterpret_cast<const Word*>(m.local() + a.op.map.arrived_flag(depth, tag.peer, slot));
        const auto result = m.wait_warp(flag, epoch, tag,
                                        a.waited_ns == nullptr ? nullptr : a.waited_ns + tag.peer);
        if (!result.reached) return;
      }
      place_message(m, a, tables, round, epoch,
                    {m.local() + a.op.map.message(depth, tag.peer, slot), tag.peer});
    }
    slot -= messages;
  }
}

}  // namespace detail

// One round's receive. Every worker of the rank runs it, after the send has ended on all workers;
// collective over the worker.
template <Machine M>
BRAID_HD void dispatch_receive(M& m, const DispatchArgs& a, int round) {
  const std::uint32_t epoch = record_of(a.op).dispatch_epoch;
  detail::receive_messages(m, a, round, epoch);
  m.sync_worker();
  if (m.warp() != 0 || !last_of(m, a.op, Phase::kDispatchReceive)) return;
  if (round == a.rules.experts.num_rounds - 1) end_receive(m, a.op, Phase::kDispatchReceive, epoch);
}

}  // namespace braid::protocol
