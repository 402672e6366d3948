// What combine's two forms share: rows on their way to their tokens' ranks, the waits for those
// that come from elsewhere, and the operation around them.
#pragma once

#include "layout/scratch.hpp"
#include "protocol/throughput.hpp"

namespace braid::protocol {

namespace detail {

// One combine.
struct Combine {
  const RowsCombineArgs& a;
  std::uint32_t epoch;
  int depth;

  BRAID_HD std::int64_t home_row(std::int64_t token, int place) const {
    return a.op.map.home_row(depth, slot_of(token, place));
  }
  // Of the row from a token's place-th rank.
  BRAID_HD std::int64_t slot_of(std::int64_t token, int place) const {
    return token * a.op.map.shape.most_ranks() + place;
  }
};

// A warp's rows on their way home, those of every rank but this one: what both forms' rows have in
// common for send_in_turn.
template <Machine M>
struct HomeRows {
  M& m;
  const Combine& combine;
  RowItems items;
  RowTables tables;
  Claims claims;

  BRAID_HD std::int64_t& row_of(std::int64_t i) const {
    return tables.rows[RowTables::place_of(i)];
  }
  BRAID_HD RowOrigin home_of(std::int64_t i) const {
    return tables.origins[RowTables::place_of(i)];
  }
  BRAID_HD bool exists(std::int64_t i) const { return row_of(i) >= 0; }

  BRAID_HD void look_up(std::int64_t first, int count) {
    m.for_lanes(count, [&](int i) {
      const std::int64_t row = items.row_of(claims.item_of(first + i));
      row_of(first + i) = row;
      if (row < 0) return;
      tables.origins[RowTables::place_of(first + i)] = origin_of(combine.a.op, row);
    });
    m.sync_warp();
  }
  BRAID_HD void raise(std::int64_t first, int count) {
    m.for_lanes(count, [&](int i) {
      if (!exists(first + i)) return;
      const RowOrigin home = home_of(first + i);
      m.raise(static_cast<int>(home.rank), combine.a.op.map.returned_flag(combine.depth, home.slot),
              layout::make_word(combine.epoch, 0));
    });
    m.sync_warp();
  }
};

// Copies the destinations of a warp's next tokens into its tables. A warp's work.
template <Machine M, class TokenOf>
BRAID_HD void look_up_tokens(M& m, const Combine& combine, const RowTables& tables, int count,
                             TokenOf&& token_of) {
  const int most = tables.most_ranks;
  m.sync_warp();
  m.for_lanes(count * most, [&](int i) {
    tables.destinations[i] = destinations_of(combine.a.op, token_of(i / most))[i % most];
  });
  m.sync_warp();
}

// Waits for the rows of tokens [begin, end) of those that come from elsewhere. False where one does
// not. A warp's work.
template <Machine M, class TokenOf>
BRAID_HD bool await_home(M& m, const Combine& combine, const RowTables& tables, const Range& tokens,
                         TokenOf&& token_of) {
  const int most = tables.most_ranks;
  const auto begin = static_cast<int>(tokens.begin) * most;
  return m.wait_each(static_cast<int>(tokens.size()) * most, [&](int at) {
    const int i = begin + at;
    const std::int32_t rank = tables.destinations[i].rank;
    if (rank < 0 || rank == m.rank()) return machine::WaitResult{true, 0};
    const std::int64_t slot = combine.slot_of(token_of(i / most), i % most);
    return m.wait(flag_at(m.local(), combine.a.op.map.returned_flag(combine.depth, slot)),
                  combine.epoch, WaitTag{Operation::kCombine, 0, rank}, nullptr);
  });
}

// The operation around what its workers do: `work` of the combine, and of a warp's tables.
// Collective over the worker.
template <Machine M, class Work>
BRAID_HD void run_combine(M& m, const RowsCombineArgs& a, Work&& work) {
  const std::uint32_t epoch = state_of(a.op).epoch + 1;
  if (begin_operation(m, a.op, epoch, Operation::kCombine)) {
    work(Combine{a, epoch, depth_of(a.op, epoch)}, RowTables::of(m, a.op.map.shape));
  }
  m.sync_worker();
  if (m.warp() != 0 || !is_last(m, a.op) || m.failed()) return;
  end_operation(m, a.op, epoch);
}

}  // namespace detail

}  // namespace braid::protocol
