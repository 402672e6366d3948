// Combine, written once for every machine: the experts' rows back to the ranks of their tokens.
//
// A row goes home into the slot named by (token, choice), with a flag of its own. At the token rank
// each row travels; at the expert rank the rows of one token in a round are summed first, and the
// sum takes the slot of the token's first choice among them. To a rank with few tokens a sum goes
// as words that are their own flags.
#pragma once

#include "layout/scratch.hpp"
#include "protocol/control.hpp"

namespace braid::protocol {

namespace detail {

using layout::RowOrigin;
using layout::SumTerm;

struct SumTables {
  const std::byte** rows;  // [k]
  float* weights;          // [k]
  std::int32_t* experts;   // [k]
  std::uint32_t* count;    // rows of the sum, the slot it goes to, the tokens of its home

  template <Machine M>
  BRAID_HD static SumTables of(M& m, int k) {
    const auto at = layout::SumScratch::of(k);
    std::byte* base = m.scratch();
    return {reinterpret_cast<const std::byte**>(base + at.rows),
            reinterpret_cast<float*>(base + at.weights),
            reinterpret_cast<std::int32_t*>(base + at.experts),
            reinterpret_cast<std::uint32_t*>(base + at.count)};
  }
};

// The row of the experts' output that an index over all local experts names.
BRAID_HD inline const std::uint16_t* expert_row(const CombineArgs& a, std::int64_t row_idx,
                                                int round) {
  const layout::BufferShape& shape = a.op.map.shape;
  if (a.rows_of_one_round) {
    row_idx -= round * std::int64_t{a.experts.per_round()} * shape.row_capacity();
  }
  return a.x + row_idx * shape.hidden;
}

// Sends a staged row home and raises its flag. A warp's work.
template <Machine M>
BRAID_HD void send_home(M& m, const CombineArgs& a, const machine::Staged& staged,
                        const RowOrigin& home, int round, std::uint32_t epoch) {
  const int depth = depth_of(a.op, epoch);
  const int rank = static_cast<int>(home.rank);
  if (m.lane() == 0) {
    m.send(staged, rank, operation_id(epoch, Phase::kCombineSend, round),
           a.op.map.combine_row(depth, home.slot));
    m.count_message(rank);
  }
  m.drain();
  if (m.lane() == 0 && m.reachable(rank)) {
    m.raise(rank, a.op.map.combine_flag(depth, home.slot), layout::make_word(epoch, 0));
  }
}

// The same word by word, by all of the worker's threads.
template <Machine M>
BRAID_HD void send_words_home(M& m, const CombineArgs& a, const machine::Staged& staged,
                              const RowOrigin& home, std::uint32_t epoch) {
  const std::int64_t row = a.op.map.word_row(depth_of(a.op, epoch), home.slot);
  const auto* pairs = reinterpret_cast<const std::uint32_t*>(staged.data);
  const int rank = static_cast<int>(home.rank);
  m.for_threads(a.op.map.shape.hidden / 2, [&](int i) {
    m.post(rank, row + i * layout::kWordBytes, layout::make_word(epoch, pairs[i]));
  });
  if (m.thread() == 0) m.count_message(rank);
}

// Whether a block's rows are there: at once, or when their producer has said so.
template <Machine M>
BRAID_HD bool await_block(M& m, const CombineArgs& a, int expert, std::int64_t block, int round) {
  if (a.signals == nullptr) return true;
  if (m.thread() == 0) {
    WaitTag tag{Operation::kCombineSend, round, m.rank()};
    tag.expert = expert;
    tag.block = static_cast<std::int32_t>(block);
    m.wait_count(a.signals + a.op.map.shape.block_signal(expert, block, a.block_rows),
                 a.signal_threshold, tag);
  }
  m.sync_worker();
  return !m.failed();
}

// One (expert, row block) unit.
template <Machine M>
BRAID_HD void send_unit(M& m, const CombineArgs& a, int expert, Range rows, int round,
                        std::uint32_t epoch) {
  const std::int64_t capacity = a.op.map.shape.row_capacity();
  for (std::int64_t row = rows.begin + m.warp(); row < rows.end; row += m.num_warps()) {
    const auto& home = *reinterpret_cast<const RowOrigin*>(
        a.op.local + a.op.local_map.origin(a.op.handle_slot, expert, row));
    if (!is_active(a.op, static_cast<int>(home.rank))) continue;
    const auto staged =
        m.stage_row(a.format, expert_row(a, expert * capacity + row, round), a.op.map.shape.hidden);
    send_home(m, a, staged, home, round, epoch);
  }
}

template <Machine M>
BRAID_HD void send_rows(M& m, const CombineArgs& a, int round, std::uint32_t epoch) {
  const int first = round * a.experts.per_round();
  std::int64_t unit = m.worker();
  for (int expert = first; expert < first + a.experts.per_round(); ++expert) {
    const std::int64_t count = *reinterpret_cast<const std::uint32_t*>(
        a.op.local + a.op.local_map.expert_count(a.op.handle_slot, expert));
    const std::int64_t blocks = ceil_div(count, std::int64_t{a.block_rows});
    for (; unit < blocks; unit += m.num_workers()) {
      const std::int64_t begin = unit * a.block_rows;
      if (!await_block(m, a, expert, unit, round)) return;
      send_unit(m, a, expert, {begin, min_of(begin + a.block_rows, count)}, round, epoch);
    }
    unit -= blocks;
  }
}

// The terms of one token in one round. Thread 0's work.
BRAID_HD inline void gather_terms(const CombineArgs& a, const SumTables& tables, int source,
                                  std::int64_t token, int round) {
  const std::int64_t capacity = a.op.map.shape.row_capacity();
  const std::uint32_t dispatched = record_of(a.op).dispatch_epoch;
  const auto* terms = reinterpret_cast<const SumTerm*>(
      a.op.local + a.op.local_map.term(a.op.handle_slot, source, token * a.topk.k));
  std::uint32_t count = 0;
  for (int choice = 0; choice < a.topk.k; ++choice) {
    const SumTerm term = terms[choice];
    if (term.epoch != dispatched) continue;
    const int expert = static_cast<int>(term.row / capacity);
    if (a.experts.round_of_local(expert) != round) continue;
    if (count == 0) {
      tables.count[1] = static_cast<std::uint32_t>(token * a.topk.k + choice);
      tables.count[2] = term.source_tokens;
    }
    tables.rows[count] =
        reinterpret_cast<const std::byte*>(expert_row(a, std::int64_t{term.row}, round));
    tables.weights[count] = term.weight;
    ++count;
  }
  tables.count[0] = count;
}

template <Machine M>
BRAID_HD void send_sums(M& m, const CombineArgs& a, int round, std::uint32_t epoch) {
  const auto tables = SumTables::of(m, a.topk.k);
  // A worker takes a token of a source here and there: how many a source had is not known.
  const std::int64_t tokens = a.op.map.shape.max_tokens;
  for (int source = 0; source < a.experts.num_ranks; ++source) {
    if (!is_active(a.op, source)) continue;
    for (std::int64_t token = m.worker(); token < tokens; token += m.num_workers()) {
      if (m.thread() == 0) gather_terms(a, tables, source, token, round);
      m.sync_worker();
      if (tables.count[0] > 0) {
        const auto staged =
            m.stage_sum({tables.rows, tables.weights, static_cast<int>(tables.count[0]),
                         a.op.map.shape.hidden, CombineFormat::kBf16},
                        a.format);
        const RowOrigin home{static_cast<std::uint32_t>(source), tables.count[1]};
        if (a.as_words(tables.count[2]) && m.reachable(source)) {
          send_words_home(m, a, staged, home, epoch);
        } else if (m.warp() == 0) {
          send_home(m, a, staged, home, round, epoch);
        }
      }
      m.sync_worker();
    }
  }
}

// Waits for all rounds' signals of the peers that are reachable, or of those that are not: another
// node's rows are all there after its signals.
template <Machine M>
BRAID_HD void await_signals(M& m, const CombineArgs& a, std::uint32_t epoch, bool reachable) {
  const int rounds = a.experts.num_rounds;
  m.for_threads(a.experts.num_ranks * rounds, [&](int i) {
    const WaitTag tag{Operation::kCombineReceive, i % rounds, i / rounds};
    if (!is_active(a.op, tag.peer) || m.reachable(tag.peer) != reachable) return;
    const auto* flag = reinterpret_cast<const Word*>(
        m.local() +
        a.op.map.signal_flag(layout::Signal::kCombine, depth_of(a.op, epoch), tag.peer, tag.round));
    m.wait(flag, epoch, tag, a.waited_ns == nullptr ? nullptr : a.waited_ns + tag.peer);
  });
}

// Waits for this choice's row, if it is one that comes; then it is a term of the token's sum.
template <Machine M>
BRAID_HD bool await_choice(M& m, const CombineArgs& a, const std::int32_t* experts,
                           std::int64_t token, int choice, std::uint32_t epoch) {
  const int expert = experts[choice];
  if (expert < 0 || !is_active(a.op, a.experts.rank_of(expert))) return false;
  const int rank = a.experts.rank_of(expert);
  for (int other = 0; other < choice; ++other) {
    if (experts[other] < 0) continue;
    // The sum of this (rank, round) comes in an earlier choice's slot.
    if (a.at_expert_rank && a.experts.rank_of(experts[other]) == rank &&
        a.experts.round_of(experts[other]) == a.experts.round_of(expert)) {
      return false;
    }
    // The row comes once, in the first naming's slot, and is weighted once per naming.
    if (!a.at_expert_rank && experts[other] == expert) return true;
  }
  if (!m.reachable(rank)) return true;  // its signal was waited for
  if (a.as_words(static_cast<std::uint32_t>(a.topk.num_tokens))) return true;  // read_words waits
  const auto* flag = reinterpret_cast<const Word*>(
      m.local() + a.op.map.combine_flag(depth_of(a.op, epoch), token * a.topk.k + choice));
  return m
      .wait(flag, epoch, WaitTag{Operation::kCombineReceive, a.experts.round_of(expert), rank},
            a.waited_ns == nullptr ? nullptr : a.waited_ns + rank)
      .reached;
}

// Waits for the words of a token's sums, and puts the rows together in their slots.
template <Machine M>
BRAID_HD void read_words(M& m, const CombineArgs& a, const SumTables& tables, std::int64_t token,
                         std::uint32_t epoch) {
  const int depth = depth_of(a.op, epoch);
  for (int choice = 0; choice < a.topk.k; ++choice) {
    if (tables.rows[choice] == nullptr) continue;
    const int expert = tables.experts[choice];
    const WaitTag tag{Operation::kCombineReceive, a.experts.round_of(expert),
                      a.experts.rank_of(expert)};
    if (!m.reachable(tag.peer)) continue;
    const std::int64_t slot = token * a.topk.k + choice;
    const auto* words = reinterpret_cast<const Word*>(m.local() + a.op.map.word_row(depth, slot));
    auto* pairs = reinterpret_cast<std::uint32_t*>(m.local() + a.op.map.combine_row(depth, slot));
    m.for_threads(a.op.map.shape.hidden / 2, [&](int i) {
      std::int64_t* waited = a.waited_ns == nullptr || i > 0 ? nullptr : a.waited_ns + tag.peer;
      pairs[i] = layout::value_of(m.wait(words + i, epoch, tag, waited).seen);
    });
  }
  m.sync_worker();
}

// A token's rows, in top-k order, with their weights.
template <Machine M>
BRAID_HD void gather_rows(M& m, const CombineArgs& a, const SumTables& tables, std::int64_t token,
                          std::uint32_t epoch) {
  const int k = a.topk.k;
  m.for_threads(k, [&](int choice) { tables.experts[choice] = a.topk.expert(token, choice); });
  m.sync_worker();
  m.for_threads(k, [&](int choice) {
    tables.rows[choice] = nullptr;
    if (!await_choice(m, a, tables.experts, token, choice, epoch)) return;
    int named = choice;
    for (int other = choice - 1; other >= 0 && !a.at_expert_rank; --other) {
      if (tables.experts[other] == tables.experts[choice]) named = other;
    }
    tables.rows[choice] =
        m.local() + a.op.map.combine_row(depth_of(a.op, epoch), token * k + named);
    tables.weights[choice] = a.at_expert_rank ? 1.0F : a.weights[token * k + choice];
  });
  m.sync_worker();
  if (a.as_words(static_cast<std::uint32_t>(a.topk.num_tokens))) {
    read_words(m, a, tables, token, epoch);
  }
  if (m.thread() == 0) {
    std::uint32_t count = 0;
    for (int choice = 0; choice < k; ++choice) {
      if (tables.rows[choice] == nullptr) continue;
      tables.rows[count] = tables.rows[choice];
      tables.weights[count++] = tables.weights[choice];
    }
    tables.count[0] = count;
  }
  m.sync_worker();
}

}  // namespace detail

// One round's send. Every worker of the rank runs it; collective over the worker.
template <Machine M>
BRAID_HD void combine_send(M& m, const CombineArgs& a, int round) {
  const std::uint32_t epoch = epoch_of_send(a.op, record_of(a.op).combine_epoch, round);
  await_depth(m, a.op, epoch, WaitTag{Operation::kCombineSend, round, 0}, a.waited_ns);
  m.sync_worker();
  if (!m.failed()) {
    if (a.at_expert_rank) {
      detail::send_sums(m, a, round, epoch);
    } else {
      detail::send_rows(m, a, round, epoch);
    }
  }
  m.sync_worker();
  if (m.warp() != 0 || !last_of(m, a.op, Phase::kCombineSend)) return;
  end_send(m, a.op,
           {layout::Signal::kCombine, Phase::kCombineSend, round, epoch,
            &record_of(a.op).combine_epoch});
}

// The receive of all rounds. Every worker of the rank runs it; collective over the worker.
template <Machine M>
BRAID_HD void combine_receive(M& m, const CombineArgs& a) {
  const auto tables = detail::SumTables::of(m, a.topk.k);
  const std::uint32_t epoch = record_of(a.op).combine_epoch;
  detail::await_signals(m, a, epoch, false);
  m.sync_worker();
  const Range tokens = share_of(a.topk.num_tokens, m.worker(), m.num_workers());
  for (std::int64_t token = tokens.begin; token < tokens.end && !m.failed(); ++token) {
    detail::gather_rows(m, a, tables, token, epoch);
    if (m.failed()) break;
    m.weighted_sum({tables.rows, tables.weights, static_cast<int>(tables.count[0]),
                    a.op.map.shape.hidden, a.format},
                   reinterpret_cast<std::byte*>(a.out + token * a.op.map.shape.hidden));
    m.sync_worker();
  }
  // Every peer came this far, also one that had nothing for this rank.
  if (m.worker() == 0) detail::await_signals(m, a, epoch, true);
  m.sync_worker();
  if (m.warp() != 0 || !last_of(m, a.op, Phase::kCombineReceive)) return;
  end_receive(m, a.op, Phase::kCombineReceive, epoch);
}

}  // namespace braid::protocol
