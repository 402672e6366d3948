// High throughput's combine, written once for every machine: each received row back to its token's
// rank, into the slot that its layout gave it, and there the sum of a token's rows in the order of
// their ranks. Rows of this rank's own tokens are summed where they are.
#pragma once

#include "layout/scratch.hpp"
#include "protocol/throughput.hpp"

namespace braid::protocol {

namespace detail {

// The expanded form: sums of received rows' experts, some of them known at a time, by number. A
// warp's work.
template <Machine M>
struct ExpertSums {
  M& m;
  const RowsCombineArgs& a;
  const RowTables& tables;

  // Looks up a row's experts' rows and their weights, in the order of its choices.
  BRAID_HD void look_up(std::int64_t number, std::int64_t row) const {
    const int hidden = a.op.map.shape.hidden;
    const int place = place_of(number);
    const std::int32_t* experts = experts_of(a.op, row);
    const std::uint32_t* places = places_of(a.op, row);
    m.sync_warp();
    m.for_lanes(a.k, [&](int choice) {
      // Beside the experts, not behind them: a way to memory.
      const std::int64_t from = places[choice];
      const float weight = a.weights[row * a.k + choice];
      int at = place * a.k;
      for (int other = 0; other < choice; ++other) at += experts[other] >= 0 ? 1 : 0;
      const bool is_here = experts[choice] >= 0;
      if (is_here) {
        tables.expert_rows[at] = reinterpret_cast<const std::byte*>(a.x + from * hidden);
        tables.expert_weights[at] = weight;
      }
      if (choice + 1 < a.k) return;
      tables.expert_counts[place] =
          static_cast<std::uint32_t>(at + (is_here ? 1 : 0) - place * a.k);
    });
    m.sync_warp();
  }
  BRAID_HD machine::SumRequest sum_of(std::int64_t number) const {
    const int place = place_of(number);
    return {tables.expert_rows + place * a.k, tables.expert_weights + place * a.k,
            static_cast<int>(tables.expert_counts[place]), a.op.map.shape.hidden,
            CombineFormat::kBf16};
  }

 private:
  BRAID_HD static int place_of(std::int64_t number) {
    return static_cast<int>(static_cast<std::uint32_t>(number) % layout::kExpertSums);
  }
};

// A warp's rows on their way home, for send_in_turn: those of every rank but this one.
template <Machine M>
struct RowsHome {
  M& m;
  const RowsCombineArgs& a;
  std::uint32_t epoch;
  int depth;
  RowItems items;
  RowTables tables;
  Claims claims;
  ExpertSums<M> sums;
  std::int64_t newest = -1;  // that was begun

  // Sums need no place until they are made.
  BRAID_HD int ahead() const { return a.expanded ? 1 : m.rows_ahead(); }
  BRAID_HD std::int64_t& row_of(std::int64_t i) const {
    return tables.rows[RowTables::place_of(i)];
  }
  BRAID_HD RowOrigin home_of(std::int64_t i) const {
    return tables.origins[RowTables::place_of(i)];
  }
  BRAID_HD machine::Row source(std::int64_t i) const {
    const std::int64_t hidden = a.op.map.shape.hidden;
    return {{reinterpret_cast<const std::byte*>(a.x + row_of(i) * hidden), 2 * hidden}, {}};
  }

  BRAID_HD void look_up(std::int64_t first, int count) {
    m.for_lanes(count, [&](int i) {
      const std::int64_t row = items.row_of(claims.item_of(first + i));
      row_of(first + i) = row;
      if (row >= 0) tables.origins[RowTables::place_of(first + i)] = origin_of(a.op, row);
    });
    m.sync_warp();
  }
  BRAID_HD bool exists(std::int64_t i) const { return row_of(i) >= 0; }
  BRAID_HD void begin(std::int64_t i) {
    newest = i;
    if (a.expanded) {
      sums.look_up(i, row_of(i));
    } else {
      m.begin_row(source(i));
    }
  }
  BRAID_HD void send(std::int64_t i) {
    const RowOrigin home = home_of(i);
    const int rank = static_cast<int>(home.rank);
    const std::int64_t to = a.op.map.home_row(depth, home.slot);
    if (m.lane() == 0) m.count_message(rank);
    if (a.expanded) {
      const bool more = i + 1 <= newest && exists(i + 1);
      return m.send_sum(sums.sum_of(i), more ? sums.sum_of(i + 1) : machine::SumRequest{}, rank,
                        to);
    }
    const machine::Row row = m.take_row(source(i));
    if (m.lane() == 0) m.send_row(row.data, rank, to);
    if (a.weights == nullptr) return;
    m.write_together(reinterpret_cast<const std::byte*>(a.weights + row_of(i) * a.k),
                     std::int64_t{4} * a.k, rank, a.op.map.home_weights(depth, home.slot));
  }
  BRAID_HD void raise(std::int64_t first, int count) {
    m.for_lanes(count, [&](int i) {
      if (!exists(first + i)) return;
      const RowOrigin home = home_of(first + i);
      m.raise(static_cast<int>(home.rank), a.op.map.returned_flag(depth, home.slot),
              layout::make_word(epoch, 0));
    });
    m.sync_warp();
  }
};

// A warp's tokens, summed. It takes a few neighbors at a time, in the order in which rows come, and
// waits for these alone: the first sums are made while the last rows have not left. What is known
// of tokens is looked up for a batch of such takes.
template <Machine M>
struct TokensHome {
  M& m;
  const RowsCombineArgs& a;
  std::uint32_t epoch;
  int depth;
  WarpShare share;
  std::int64_t together;
  RowTables tables;
  ExpertSums<M> sums;

  // A warp's work.
  BRAID_HD void run() {
    for (std::int64_t first = 0; token_of(first) < a.num_tokens; first += kRowBatch) {
      int count = 0;
      while (count < kRowBatch && token_of(first + count) < a.num_tokens) ++count;
      look_up(first, count);
      if (a.expanded) sum_own_experts(first, count);
      for (int i = 0; i < count; i += static_cast<int>(together)) {
        if (!sum_arrived(first, i, min_of(i + static_cast<int>(together), count))) return;
      }
      if (a.out_weights != nullptr) sum_weights(first, count);
    }
  }

 private:
  // Of the warp's, the number-th.
  BRAID_HD std::int64_t token_of(std::int64_t number) const {
    const std::int64_t take = quotient(number, together);
    return (share.first + take * share.step) * together + (number - take * together);
  }
  BRAID_HD const Destination* from(int i) const {
    return tables.destinations + i * tables.most_ranks;
  }

  BRAID_HD void look_up(std::int64_t first, int count) {
    const int most = tables.most_ranks;
    m.sync_warp();
    m.for_lanes(count * most, [&](int i) {
      tables.destinations[i] = destinations_of(a.op, token_of(first + i / most))[i % most];
    });
    m.sync_warp();
  }
  // The expanded form: this rank's own rows of tokens as every rank's come home, in their slots.
  // arrive() shows them to the sums.
  BRAID_HD void sum_own_experts(std::int64_t first, int count) {
    const int most = tables.most_ranks;
    int now = own_from(0, count * most);
    if (now < count * most) sums.look_up(0, tables.destinations[now].row);
    for (int number = 0; now < count * most; ++number) {
      const int later = own_from(now + 1, count * most);
      machine::SumRequest next;
      if (later < count * most) {
        sums.look_up(number + 1, tables.destinations[later].row);
        next = sums.sum_of(number + 1);
      }
      const std::int64_t slot = token_of(first + now / most) * most + now % most;
      m.sum_rows(sums.sum_of(number), next, m.local() + a.op.map.home_row(depth, slot));
      now = later;
    }
  }
  // The first destination of the batch, from `at` on, that is this rank; else `end`.
  BRAID_HD int own_from(int at, int end) const {
    while (at < end && tables.destinations[at].rank != m.rank()) ++at;
    return at;
  }
  // Tokens [begin, end) of the batch. False where a row does not come.
  BRAID_HD bool sum_arrived(std::int64_t first, int begin, int end) {
    if (!arrive(first, begin, end)) return false;
    machine::SumRequest now = gather(first, begin);
    for (int i = begin; i < end; ++i) {
      machine::SumRequest next;
      if (i + 1 < end) next = gather(first, i + 1);
      m.sum_rows(now, next, reinterpret_cast<std::byte*>(a.out + token_of(first + i) * now.hidden));
      now = next;
    }
    return true;
  }
  // Waits for the rows that come from elsewhere. False where one does not.
  BRAID_HD bool arrive(std::int64_t first, int begin, int end) {
    const int most = tables.most_ranks;
    return m.wait_each((end - begin) * most, [&](int at) {
      const int i = begin * most + at;
      const std::int32_t rank = tables.destinations[i].rank;
      if (rank < 0 || rank == m.rank()) return machine::WaitResult{true, 0};
      const std::int64_t slot = token_of(first + i / most) * most + i % most;
      return m.wait(flag_at(m.local(), a.op.map.returned_flag(depth, slot)), epoch,
                    WaitTag{Operation::kCombine, 0, rank}, nullptr);
    });
  }
  // The biases and rows of token i of the batch, in order.
  BRAID_HD machine::SumRequest gather(std::int64_t first, int i) {
    const int most = tables.most_ranks;
    const int hidden = a.op.map.shape.hidden;
    const std::int64_t token = token_of(first + i);
    const std::byte** rows = tables.sums + i % 2 * (most + layout::kMostBiases);
    int count = a.num_biases;
    while (count - a.num_biases < most && from(i)[count - a.num_biases].rank >= 0) ++count;
    m.for_lanes(count, [&](int at) {
      const int place = at - a.num_biases;
      if (place < 0) {
        rows[at] = reinterpret_cast<const std::byte*>(a.biases[at] + token * hidden);
      } else if (from(i)[place].rank == m.rank() && !a.expanded) {
        rows[at] =
            reinterpret_cast<const std::byte*>(a.x + std::int64_t{from(i)[place].row} * hidden);
      } else {
        rows[at] = m.local() + a.op.map.home_row(depth, token * most + place);
      }
    });
    m.sync_warp();
    return {rows, nullptr, count, hidden, CombineFormat::kBf16};
  }
  // The weights that came back with tokens' rows, summed in the order of the rows.
  BRAID_HD void sum_weights(std::int64_t first, int count) {
    const int most = tables.most_ranks;
    m.for_lanes(count * a.k, [&](int i) {
      const std::int64_t token = token_of(first + i / a.k);
      const int choice = i % a.k;
      const Destination* rows = from(i / a.k);
      float sum = 0.0F;
      for (int at = 0; at < most && rows[at].rank >= 0; ++at) {
        const auto* weights =
            rows[at].rank == m.rank()
                ? a.weights + std::int64_t{rows[at].row} * a.k
                : reinterpret_cast<const float*>(m.local() +
                                                 a.op.map.home_weights(depth, token * most + at));
        sum = codec::add_rn(sum, weights[choice]);
      }
      a.out_weights[token * a.k + choice] = sum;
    });
  }
};

}  // namespace detail

// All workers of all ranks run it at the same time; collective over the worker.
template <Machine M>
BRAID_HD void combine_rows(M& m, const RowsCombineArgs& a) {
  const std::uint32_t epoch = state_of(a.op).epoch + 1;
  if (detail::begin_operation(m, a.op, epoch, Operation::kCombine)) {
    const auto split = detail::Split::of(m);
    const auto tables = detail::RowTables::of(m, a.op.map.shape);
    const int depth = depth_of(a.op, epoch);
    if (split.sends.takes_part) {
      const auto items = detail::RowItems::of(m, a.op);
      const auto claims = detail::Claims::of(a.op, tables, split.sends, items.count);
      detail::RowsHome<M> home{m, a, epoch, depth, items, tables, claims, {m, a, tables}};
      detail::send_in_turn(m, home);
    }
    if (split.receives.takes_part) {
      const auto together = detail::batch_of(a.num_tokens, split.receives, layout::kTokensTogether);
      detail::TokensHome<M>{m, a, epoch, depth, split.receives, together, tables, {m, a, tables}}
          .run();
    }
  }
  m.sync_worker();
  if (m.warp() != 0 || !detail::is_last(m, a.op) || m.failed()) return;
  detail::end_operation(m, a.op, epoch);
}

}  // namespace braid::protocol
