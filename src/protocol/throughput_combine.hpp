// High throughput's combine, written once for every machine: each received row back to its token's
// rank, into the slot that its layout gave it, and there the sum of a token's rows in the order of
// their ranks. Rows of this rank's own tokens are summed where they are.
#pragma once

#include "protocol/throughput_combine_experts.hpp"
#include "protocol/throughput_home.hpp"

namespace braid::protocol {

namespace detail {

// A warp's rows on their way home as they are.
template <Machine M>
struct RowsHome : HomeRows<M> {
  using HomeRows<M>::m;
  using HomeRows<M>::combine;

  BRAID_HD int ahead() const { return m.rows_ahead(); }
  BRAID_HD machine::Row source(std::int64_t i) const {
    const RowsCombineArgs& a = combine.a;
    const std::int64_t hidden = a.op.map.shape.hidden;
    return {{reinterpret_cast<const std::byte*>(a.x + this->row_of(i) * hidden), 2 * hidden}, {}};
  }
  BRAID_HD void begin(std::int64_t i) { m.begin_row(source(i)); }
  BRAID_HD void send(std::int64_t i) {
    const RowsCombineArgs& a = combine.a;
    const layout::ThroughputMap& map = a.op.map;
    const RowOrigin home = this->home_of(i);
    const int rank = static_cast<int>(home.rank);
    const machine::Row row = m.take_row(source(i));
    if (m.lane() == 0) {
      m.count_message(rank);
      m.send_row(row.data, rank, map.home_row(combine.depth, home.slot));
    }
    if (a.weights == nullptr) return;
    m.write_together(reinterpret_cast<const std::byte*>(a.weights + this->row_of(i) * a.k),
                     std::int64_t{4} * a.k, rank, map.home_weights(combine.depth, home.slot));
  }
};

// A warp's tokens, summed. It takes a few neighbors at a time, in the order in which rows come, and
// waits for these alone: the first sums are made while the last rows have not left. What is known
// of tokens is looked up for a batch of such takes.
template <Machine M>
struct TokensHome {
  M& m;
  const Combine& combine;
  WarpShare share;
  std::int64_t together;
  RowTables tables;

  // A warp's work.
  BRAID_HD void run() {
    const RowsCombineArgs& a = combine.a;
    for (std::int64_t first = 0; token_of(first) < a.num_tokens; first += kRowBatch) {
      int count = 0;
      while (count < kRowBatch && token_of(first + count) < a.num_tokens) ++count;
      look_up_tokens(m, combine, tables, count, [&](int i) { return token_of(first + i); });
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

  // Tokens [begin, end) of the batch. False where a row does not come.
  BRAID_HD bool sum_arrived(std::int64_t first, int begin, int end) {
    const auto token = [&](int i) { return token_of(first + i); };
    if (!await_home(m, combine, tables, {begin, end}, token)) return false;
    machine::SumRequest now = gather(first, begin);
    for (int i = begin; i < end; ++i) {
      machine::SumRequest next;
      if (i + 1 < end) next = gather(first, i + 1);
      m.sum_rows(now, next, reinterpret_cast<std::byte*>(combine.a.out + token(i) * now.hidden));
      now = next;
    }
    return true;
  }
  // The biases and rows of token i of the batch, in order.
  BRAID_HD machine::SumRequest gather(std::int64_t first, int i) {
    const RowsCombineArgs& a = combine.a;
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
      } else if (from(i)[place].rank == m.rank()) {
        rows[at] =
            reinterpret_cast<const std::byte*>(a.x + std::int64_t{from(i)[place].row} * hidden);
      } else {
        rows[at] = m.local() + combine.home_row(token, place);
      }
    });
    m.sync_warp();
    return {rows, nullptr, count, hidden, CombineFormat::kBf16};
  }
  // The weights that came back with tokens' rows, summed in the order of the rows.
  BRAID_HD void sum_weights(std::int64_t first, int count) {
    const RowsCombineArgs& a = combine.a;
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
                : reinterpret_cast<const float*>(
                      m.local() + a.op.map.home_weights(combine.depth, combine.slot_of(token, at)));
        sum = codec::add_rn(sum, weights[choice]);
      }
      a.out_weights[token * a.k + choice] = sum;
    });
  }
};

}  // namespace detail

// Rows by source. All workers of all ranks run it at the same time; collective over the worker.
template <Machine M>
BRAID_HD void combine_source_rows(M& m, const RowsCombineArgs& a) {
  detail::run_combine(m, a, [&](const detail::Combine& combine, const detail::RowTables& tables) {
    const auto split = detail::Split::of(m);
    if (split.sends.takes_part) {
      const auto items = detail::RowItems::of(m, a.op);
      const auto batch = detail::batch_of(items.count, split.sends, detail::kRowBatch);
      const auto claims = detail::send_claims_of(a.op, tables, items.count, batch);
      detail::RowsHome<M> home{{m, combine, items, tables, claims}};
      detail::send_in_turn(m, home);
    }
    if (split.receives.takes_part) {
      const auto together = detail::batch_of(a.num_tokens, split.receives, layout::kTokensTogether);
      detail::TokensHome<M>{m, combine, split.receives, together, tables}.run();
    }
  });
}

// In either form.
template <Machine M>
BRAID_HD void combine_rows(M& m, const RowsCombineArgs& a) {
  if (a.expanded) {
    combine_expert_rows(m, a);
  } else {
    combine_source_rows(m, a);
  }
}

}  // namespace braid::protocol
