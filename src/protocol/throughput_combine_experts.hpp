// High throughput's combine from rows by expert: the rows of a received row's experts are summed by
// their weights at its rank, and one row goes home; there a token's own experts' rows are summed
// with those that come, in one pass.
#pragma once

#include "protocol/throughput_home.hpp"

namespace braid::protocol {

namespace detail {

// What is known of a warp's nested sums, a batch of them, in its scratch.
struct NestedTables {
  const std::byte** rows;
  float* weights;
  layout::NestedCounts* counts;
  int k, most_rows;

  template <Machine M>
  BRAID_HD static NestedTables of(M& m, const layout::ThroughputShape& shape, int k) {
    const auto at = layout::ThroughputRowScratch::of(shape);
    std::byte* own = m.scratch() + m.warp() * at.bytes;
    return {reinterpret_cast<const std::byte**>(own + at.nested_rows),
            reinterpret_cast<float*>(own + at.inner_weights),
            reinterpret_cast<layout::NestedCounts*>(own + at.nested_counts), k,
            k + shape.most_ranks() + layout::kMostBiases};
  }
  BRAID_HD machine::NestedSum sum_of(int i, int hidden) const {
    const layout::NestedCounts& of = counts[i];
    return {rows + i * most_rows, weights + i * k, of.inner, of.plain, of.inner_at, hidden};
  }
};

// Of sum i, the inner rows of a received row: one choice's, behind those of earlier choices. A
// lane's work.
BRAID_HD inline void look_up_choice(const RowsCombineArgs& a, const NestedTables& sums, int i,
                                    std::int64_t row, int choice) {
  const std::int32_t* experts = experts_of(a.op, row);
  // Beside the experts, not behind them: a way to memory.
  const std::int64_t from = places_of(a.op, row)[choice];
  const float weight = a.weights[row * a.k + choice];
  int at = 0;
  for (int other = 0; other < choice; ++other) at += experts[other] >= 0 ? 1 : 0;
  const bool is_here = experts[choice] >= 0;
  if (is_here) {
    const std::int64_t hidden = a.op.map.shape.hidden;
    sums.rows[i * sums.most_rows + at] = reinterpret_cast<const std::byte*>(a.x + from * hidden);
    sums.weights[i * a.k + at] = weight;
  }
  if (choice + 1 == a.k) sums.counts[i].inner = at + (is_here ? 1 : 0);
}

// A warp's rows on their way home, each a sum of its experts'.
template <Machine M>
struct ExpertRowsHome : HomeRows<M> {
  using HomeRows<M>::m;
  using HomeRows<M>::combine;
  NestedTables sums;

  // Sums need no place until they are made. So a batch is known when the one before it was sent,
  // and tables for one are enough, of kNestedSums rows at the most.
  BRAID_HD static constexpr int ahead() { return 0; }
  BRAID_HD static constexpr void begin(std::int64_t) {}
  BRAID_HD void look_up(std::int64_t first, int count) {
    HomeRows<M>::look_up(first, count);
    const RowsCombineArgs& a = combine.a;
    m.for_lanes(count, [&](int i) { sums.counts[sum_of(first + i)] = {}; });
    m.sync_warp();
    m.for_lanes(count * a.k, [&](int i) {
      const std::int64_t number = first + i / a.k;
      if (this->exists(number)) {
        look_up_choice(a, sums, sum_of(number), this->row_of(number), i % a.k);
      }
    });
    m.sync_warp();
  }
  BRAID_HD void send(std::int64_t i) {
    const RowOrigin home = this->home_of(i);
    const int rank = static_cast<int>(home.rank);
    const layout::ThroughputMap& map = combine.a.op.map;
    if (m.lane() == 0) m.count_message(rank);
    m.send_nested(sums.sum_of(sum_of(i), map.shape.hidden), rank,
                  map.home_row(combine.depth, home.slot));
  }

 private:
  BRAID_HD static int sum_of(std::int64_t number) {
    return static_cast<int>(static_cast<std::uint32_t>(number) % layout::kNestedSums);
  }
};

// Tokens, summed as warps get on: those that have sent all they had take some, too.
template <Machine M>
struct ExpertTokensHome {
  M& m;
  const Combine& combine;
  RowTables tables;
  NestedTables sums;

  // A warp's work.
  BRAID_HD void run() {
    const RowsCombineArgs& a = combine.a;
    const int hidden = a.op.map.shape.hidden;
    for (;;) {
      const std::int64_t token = m.claim(receive_counter(a.op));
      if (token >= a.num_tokens) return;
      const auto token_of = [&](int) { return token; };
      look_up_tokens(m, combine, tables, 1, token_of);
      gather(token);
      if (!await_home(m, combine, tables, {0, 1}, token_of)) return;
      m.sum_nested(sums.sum_of(0, hidden), reinterpret_cast<std::byte*>(a.out + token * hidden));
    }
  }

 private:
  // This rank's place among the token's ranks, or -1.
  BRAID_HD int own_place() const {
    for (int place = 0; place < tables.most_ranks; ++place) {
      if (tables.destinations[place].rank == m.rank()) return place;
    }
    return -1;
  }
  BRAID_HD void gather(std::int64_t token) {
    const RowsCombineArgs& a = combine.a;
    const int own = own_place();
    if (m.lane() == 0) sums.counts[0] = {};
    m.sync_warp();
    if (own >= 0) {
      m.for_lanes(a.k, [&](int choice) {
        look_up_choice(a, sums, 0, tables.destinations[own].row, choice);
      });
      m.sync_warp();
    }
    if (m.lane() == 0) gather_plain(token);
    m.sync_warp();
  }
  // The biases and the rows from elsewhere. A lane's work.
  BRAID_HD void gather_plain(std::int64_t token) {
    const RowsCombineArgs& a = combine.a;
    const std::byte** rows = sums.rows + sums.counts[0].inner;
    int count = 0;
    for (; count < a.num_biases; ++count) {
      const std::int64_t hidden = a.op.map.shape.hidden;
      rows[count] = reinterpret_cast<const std::byte*>(a.biases[count] + token * hidden);
    }
    for (int place = 0; place < tables.most_ranks; ++place) {
      const std::int32_t rank = tables.destinations[place].rank;
      if (rank < 0) break;
      if (rank == m.rank()) {
        sums.counts[0].inner_at = count;
      } else {
        rows[count++] = m.local() + combine.home_row(token, place);
      }
    }
    sums.counts[0].plain = count;
  }
};

}  // namespace detail

// All workers of all ranks run it at the same time; collective over the worker.
template <Machine M>
BRAID_HD void combine_expert_rows(M& m, const RowsCombineArgs& a) {
  detail::run_combine(m, a, [&](const detail::Combine& combine, const detail::RowTables& tables) {
    const auto share = detail::Split::of(m).sends;
    const auto sums = detail::NestedTables::of(m, a.op.map.shape, a.k);
    if (share.takes_part) {
      const auto items = detail::RowItems::of(m, a.op);
      const auto batch = detail::batch_of(items.count, share, layout::kNestedSums);
      const auto claims = detail::send_claims_of(a.op, tables, items.count, batch);
      detail::ExpertRowsHome<M> home{{m, combine, items, tables, claims}, sums};
      detail::send_in_turn(m, home);
    }
    detail::ExpertTokensHome<M>{m, combine, tables, sums}.run();
  });
}

}  // namespace braid::protocol
