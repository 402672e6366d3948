// High throughput's dispatch, written once for every machine: each token once to each of its ranks,
// into the row there that its layout gave it. Every row has a flag of its own.
#pragma once

#include "protocol/throughput.hpp"

namespace braid::protocol {

namespace detail {

// What the rows of one dispatch have in common.
struct Rows {
  std::uint32_t epoch = 0;
  int depth = 0;
  std::int64_t data_bytes = 0;
  std::int64_t scale_bytes = 0;  // 0: the format has none

  BRAID_HD static Rows of(const RowsDispatchArgs& a, std::uint32_t epoch) {
    const int hidden = a.op.map.shape.hidden;
    return {epoch, depth_of(a.op, epoch), codec::dispatch_data_bytes(a.format, hidden),
            codec::dispatch_scale_bytes(a.format, hidden)};
  }
};

// A row that was taken to a row of the outputs. A lane's work.
template <Machine M>
BRAID_HD void copy_to_output(M& m, const RowsDispatchArgs& a, const Rows& rows,
                             const machine::Row& row, std::int64_t to) {
  m.copy_row(row.data, a.out_x + to * rows.data_bytes);
  if (rows.scale_bytes > 0) m.copy_row(row.scales, a.out_scales + to * rows.scale_bytes);
}
// To each that it has. A warp's work.
template <Machine M>
BRAID_HD void copy_to_outputs(M& m, const RowsDispatchArgs& a, const Rows& rows,
                              const machine::Row& row, std::int64_t to) {
  if (!a.expanded) {
    if (m.lane() == 0) copy_to_output(m, a, rows, row, to);
    return;
  }
  const std::int32_t* experts = experts_of(a.op, to);
  const std::uint32_t* places = places_of(a.op, to);
  m.for_lanes(a.k, [&](int choice) {
    const std::int64_t place = places[choice];  // beside the experts: a way to memory
    if (is_first_naming(experts, choice)) copy_to_output(m, a, rows, row, place);
  });
}

// How many tokens a warp sends as a batch. Flags cost a fence a batch, so they are to be few. But
// what is copied from where it arrives keeps its receiver waiting until two batches were sent: of
// these a warp is to have some more.
BRAID_HD inline std::int64_t batch_of_tokens(const RowsDispatchArgs& a, const WarpShare& share) {
  if (a.in_region) return batch_of(a.num_tokens, share, kRowBatch);
  const std::int64_t some = quotient(a.num_tokens, layout::kCopiedBatches);
  return max_of(batch_of(a.num_tokens, share, layout::kLeastCopied),
                batch_of(some, share, layout::kMostCopied));
}

// A warp's tokens on their way, for send_in_turn. One without routes is no row.
template <Machine M>
struct TokensOut {
  M& m;
  const RowsDispatchArgs& a;
  const Rows& rows;
  RowTables tables;
  Claims claims;

  BRAID_HD int ahead() const { return m.rows_ahead(); }
  BRAID_HD std::int64_t token_of(std::int64_t i) const { return claims.item_of(i); }
  BRAID_HD bool encodes() const { return a.format != DispatchFormat::kBf16 && a.scales == nullptr; }
  BRAID_HD machine::Row source(std::int64_t token) const {
    if (encodes()) {
      const std::int64_t bytes = 2 * std::int64_t{a.op.map.shape.hidden};
      return {{a.x + token * bytes, bytes}, {}};
    }
    const auto* scales = reinterpret_cast<const std::byte*>(a.scales);
    return {{a.x + token * rows.data_bytes, rows.data_bytes},
            {scales + token * rows.scale_bytes, rows.scale_bytes}};
  }

  BRAID_HD void look_up(std::int64_t first, int count) {
    const int most = tables.most_ranks;
    m.for_lanes(count * most, [&](int i) {
      tables.destinations_of(first + i / most)[i % most] =
          destinations_of(a.op, token_of(first + i / most))[i % most];
    });
    m.sync_warp();
  }
  BRAID_HD bool exists(std::int64_t i) const { return tables.destinations_of(i)[0].rank >= 0; }
  BRAID_HD void begin(std::int64_t i) { m.begin_row(source(token_of(i))); }
  BRAID_HD void send(std::int64_t i) {
    const machine::Row row = encodes() ? m.take_encoded_row(a.format, a.op.map.shape.hidden)
                                       : m.take_row(source(token_of(i)));
    const Destination* to = tables.destinations_of(i);
    m.for_lanes(tables.most_ranks, [&](int j) {
      if (to[j].rank >= 0 && (to[j].rank != m.rank() || a.in_region)) send_row_to(row, to[j]);
    });
    for (int j = 0; j < tables.most_ranks && !a.in_region; ++j) {
      if (to[j].rank == m.rank()) copy_to_outputs(m, a, rows, row, to[j].row);
    }
    if (a.weights == nullptr) return;
    // The receiver knows which of them are of experts that it has.
    for (int j = 0; j < tables.most_ranks && to[j].rank >= 0; ++j) {
      if (to[j].rank == m.rank()) continue;
      m.write_together(reinterpret_cast<const std::byte*>(a.weights + token_of(i) * a.k),
                       std::int64_t{4} * a.k, to[j].rank,
                       a.op.map.row_weights(rows.depth, to[j].row));
    }
  }
  BRAID_HD void raise(std::int64_t first, int count) {
    const int most = tables.most_ranks;
    m.for_lanes(most * count, [&](int i) {
      const Destination to = tables.destinations_of(first + i / most)[i % most];
      if (to.rank < 0 || to.rank == m.rank()) return;
      m.raise(to.rank, a.op.map.arrived_flag(rows.depth, to.row), layout::make_word(rows.epoch, 0));
    });
    m.sync_warp();
  }

 private:
  // A lane's.
  BRAID_HD void send_row_to(const machine::Row& row, const Destination& to) {
    m.count_message(to.rank);
    const layout::ThroughputMap& map = a.op.map;
    m.send_row(row.data, to.rank, map.row(rows.depth, to.row, rows.data_bytes));
    if (rows.scale_bytes > 0) {
      m.send_row(row.scales, to.rank, map.row_scales(rows.depth, to.row));
    }
  }
};

// What a row's choices are to the experts here: one of them. A lane's work.
BRAID_HD inline void write_choice(const RowsDispatchArgs& a, std::int64_t row, int choice,
                                  const float* weights) {
  const std::int32_t local = experts_of(a.op, row)[choice];
  const std::int64_t at = row * a.k + choice;
  if (a.out_topk_idx != nullptr && a.is_int64) {
    static_cast<std::int64_t*>(a.out_topk_idx)[at] = local;
  } else if (a.out_topk_idx != nullptr) {
    static_cast<std::int32_t*>(a.out_topk_idx)[at] = local;
  }
  if (a.out_weights != nullptr) a.out_weights[at] = local >= 0 ? weights[choice] : 0.0F;
}

// Whether rows' choices are written at all.
BRAID_HD inline bool has_choices(const RowsDispatchArgs& a) {
  return a.out_topk_idx != nullptr || a.out_weights != nullptr || a.expanded;
}

// The expanded form: whose a received row's places are. A lane's work.
BRAID_HD inline void write_experts(const RowsDispatchArgs& a, std::int64_t row) {
  const std::int32_t* experts = experts_of(a.op, row);
  const std::uint32_t* places = places_of(a.op, row);
  for (int choice = 0; choice < a.k; ++choice) {
    if (experts[choice] >= 0) a.out_experts[places[choice]] = experts[choice];
  }
}

// Of the rows of this rank's own tokens, which are where they go already. A warp's work.
template <Machine M>
BRAID_HD void write_own_choices(M& m, const RowsDispatchArgs& a, const WarpShare& share) {
  if (!has_choices(a)) return;
  const std::uint32_t* starts = row_starts(a.op);
  const int most = a.op.map.shape.most_ranks();
  const std::int64_t end = starts[m.rank() + 1];
  for (std::int64_t first = starts[m.rank()] + share.first * kArrivals; first < end;
       first += share.step * kArrivals) {
    const auto count = static_cast<int>(min_of(end - first, std::int64_t{kArrivals}));
    m.for_lanes(count * a.k, [&](int i) {
      const std::int64_t row = first + i / a.k;
      const std::int64_t token = origin_of(a.op, row).slot / most;
      write_choice(a, row, i % a.k, a.weights == nullptr ? nullptr : a.weights + token * a.k);
    });
    if (a.expanded) m.for_lanes(count, [&](int i) { write_experts(a, first + i); });
  }
}

// How many rows a warp waits for together.
BRAID_HD inline std::int64_t arrivals_of(const RowsDispatchArgs& a, std::int64_t rows,
                                         const WarpShare& share) {
  if (a.in_region) return batch_of(rows, share, kArrivals);
  return batch_of(quotient(rows, kTakenBatches), share, kArrivals / 2);
}

// A warp's rows from other ranks, a batch after another: waited for, and where they don't stay,
// copied to the outputs.
template <Machine M>
struct RowsIn {
  M& m;
  const RowsDispatchArgs& a;
  const Rows& rows;
  RowItems items;
  WarpShare share;
  RowTables tables;
  std::int64_t size;  // of a batch
  std::int64_t turn = 0;
  std::int64_t taken = 0;
  int on_their_way = 0;

  // A warp's work.
  BRAID_HD void run() {
    std::int64_t known = 0;
    for (std::int64_t first = next_batch(); first < items.count; first = next_batch()) {
      const auto count = static_cast<int>(min_of(items.count - first, size));
      look_up(first, count, known);
      if (!arrive(first, count, known)) break;
      write_choices(count, known);
      known += count;
      for (std::int64_t i = known - count; i < known && !a.in_region; ++i) {
        if (row_at(i) < 0) continue;
        m.begin_row(source(i));
        ++on_their_way;
        if (on_their_way > m.rows_ahead()) take();
      }
      if (on_their_way == 0) taken = known;  // what is left behind it is no row
      // What is known of them is overwritten by the batch after the next.
      while (on_their_way > 0 && taken < known - kArrivals) take();
    }
    while (on_their_way > 0) take();
  }

 private:
  // Where the warp's next batch begins. Neighbors come one behind another: to wait for all of a
  // batch keeps none waiting long.
  BRAID_HD std::int64_t next_batch() {
    const std::int64_t number =
        a.in_region ? share.first + turn++ * share.step : m.claim(receive_counter(a.op));
    return number * size;
  }
  BRAID_HD std::int64_t& row_at(std::int64_t i) const {
    return tables.rows[static_cast<std::uint32_t>(i) % (2 * kArrivals)];
  }
  BRAID_HD machine::Row source(std::int64_t i) const {
    const layout::ThroughputMap& map = a.op.map;
    return {{m.local() + map.row(rows.depth, row_at(i), rows.data_bytes), rows.data_bytes},
            {m.local() + map.row_scales(rows.depth, row_at(i)), rows.scale_bytes}};
  }

  BRAID_HD void look_up(std::int64_t first, int count, std::int64_t known) {
    m.sync_warp();
    m.for_lanes(count, [&](int i) { row_at(known + i) = items.row_of(first + i); });
    m.sync_warp();
  }
  // False where one does not come.
  BRAID_HD bool arrive(std::int64_t first, int count, std::int64_t known) {
    return m.wait_each(count, [&](int i) {
      const std::int64_t row = row_at(known + i);
      if (row < 0) return machine::WaitResult{true, 0};
      return m.wait(flag_at(m.local(), a.op.map.arrived_flag(rows.depth, row)), rows.epoch,
                    WaitTag{Operation::kDispatch, 0, items.source_of(first + i)}, nullptr);
    });
  }
  BRAID_HD void write_choices(int count, std::int64_t known) {
    if (!has_choices(a)) return;
    m.for_lanes(count * a.k, [&](int i) {
      const std::int64_t row = row_at(known + i / a.k);
      if (row < 0) return;
      write_choice(
          a, row, i % a.k,
          reinterpret_cast<const float*>(m.local() + a.op.map.row_weights(rows.depth, row)));
    });
    if (!a.expanded) return;
    m.for_lanes(count, [&](int i) {
      if (row_at(known + i) >= 0) write_experts(a, row_at(known + i));
    });
  }
  BRAID_HD void take() {
    while (row_at(taken) < 0) ++taken;
    const std::int64_t row = row_at(taken);
    const machine::Row staged = m.take_row(source(taken));
    copy_to_outputs(m, a, rows, staged, row);
    m.leave_row();
    ++taken;
    --on_their_way;
  }
};

// The expanded form's padding, and what is past it: no expert's.
template <Machine M>
BRAID_HD void fill_padding(M& m, const RowsDispatchArgs& a, const WarpShare& share) {
  const int num_local = a.op.map.shape.num_local();
  const layout::ThroughputLocalMap& map = a.op.local_map;
  const auto* starts = in_local<const std::uint32_t>(a.op, map.expert_start(a.op.handle_slot, 0));
  const auto* ends = in_local<const std::uint32_t>(a.op, map.expert_end(a.op.handle_slot, 0));
  const auto fill = [&](std::int64_t begin, std::int64_t end) {
    m.for_lanes(static_cast<int>(end - begin), [&](int i) { a.out_experts[begin + i] = -1; });
  };
  for (std::int64_t local = share.first; local < num_local; local += share.step) {
    fill(ends[local], starts[local + 1]);
  }
  constexpr std::int64_t kStrip = 256;
  for (std::int64_t begin = starts[num_local] + share.first * kStrip; begin < a.num_rows;
       begin += share.step * kStrip) {
    fill(begin, min_of(begin + kStrip, a.num_rows));
  }
}

// The rows past the received ones: no expert here is named.
template <Machine M>
BRAID_HD void fill_tail(M& m, const RowsDispatchArgs& a, const WarpShare& share) {
  const std::int64_t received = row_starts(a.op)[a.op.map.shape.num_ranks];
  for (std::int64_t row = received + share.first; row < a.num_rows; row += share.step) {
    m.for_lanes(a.k, [&](int choice) {
      const std::int64_t at = row * a.k + choice;
      if (a.out_topk_idx != nullptr && a.is_int64) {
        static_cast<std::int64_t*>(a.out_topk_idx)[at] = -1;
      } else if (a.out_topk_idx != nullptr) {
        static_cast<std::int32_t*>(a.out_topk_idx)[at] = -1;
      }
      if (a.out_weights != nullptr) a.out_weights[at] = 0.0F;
    });
  }
}

}  // namespace detail

// All workers of all ranks run it at the same time; collective over the worker.
template <Machine M>
BRAID_HD void dispatch_rows(M& m, const RowsDispatchArgs& a) {
  const std::uint32_t epoch = state_of(a.op).epoch + 1;
  const auto rows = detail::Rows::of(a, epoch);
  if (detail::begin_operation(m, a.op, epoch, Operation::kDispatch)) {
    const auto split = detail::Split::of(m);
    const auto tables = detail::RowTables::of(m, a.op.map.shape);
    if (split.sends.takes_part) {
      const std::int64_t batch = detail::batch_of_tokens(a, split.sends);
      const auto claims = detail::send_claims_of(a.op, tables, a.num_tokens, batch);
      detail::TokensOut<M> out{m, a, rows, tables, claims};
      detail::send_in_turn(m, out);
    }
    const auto share = a.in_region ? split.receives : detail::WarpShare::all(m);
    if (share.takes_part) {
      const auto items = detail::RowItems::of(m, a.op);
      const std::int64_t size = detail::arrivals_of(a, items.count, share);
      detail::RowsIn<M>{m, a, rows, items, share, tables, size}.run();
    }
    if (split.receives.takes_part) {
      detail::write_own_choices(m, a, split.receives);
      if (a.expanded) detail::fill_padding(m, a, split.receives);
      if (a.fill_tail && !a.expanded) detail::fill_tail(m, a, split.receives);
    }
    m.drain();
  }
  m.sync_worker();
  if (m.warp() != 0 || !detail::is_last(m, a.op) || m.failed()) return;
  detail::end_operation(m, a.op, epoch);
}

}  // namespace braid::protocol
