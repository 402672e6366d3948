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
  std::int64_t scale_words = 0;  // 0: the format has none
  layout::MessageShape encoded;  // of rows that are encoded here

  BRAID_HD static Rows of(const RowsDispatchArgs& a, std::uint32_t epoch) {
    const int hidden = a.op.map.shape.hidden;
    return {epoch, depth_of(a.op, epoch), codec::dispatch_data_bytes(a.format, hidden),
            codec::dispatch_scale_bytes(a.format, hidden) / 4,
            layout::MessageShape::of(a.format, hidden)};
  }
};

// A token's row as it travels. A warp's work.
template <Machine M>
BRAID_HD machine::Staged stage_token(M& m, const RowsDispatchArgs& a, const Rows& rows,
                                     std::int64_t token) {
  if (a.format == DispatchFormat::kBf16 || a.scales != nullptr) {
    return m.stage(a.x + token * rows.data_bytes, rows.data_bytes);
  }
  const int hidden = a.op.map.shape.hidden;
  return m.stage_encoded_row(a.format, reinterpret_cast<const std::uint16_t*>(a.x) + token * hidden,
                             hidden);
}

// Where a token's scales are: given, or encoded behind its row.
BRAID_HD inline const float* scales_of(const RowsDispatchArgs& a, const Rows& rows,
                                       const machine::Staged& staged, std::int64_t token) {
  if (a.scales != nullptr) return a.scales + token * rows.scale_words;
  return reinterpret_cast<const float*>(staged.data + rows.encoded.scales_at);
}

// Calls f(row of the outputs) for each that a received row has.
template <class F>
BRAID_HD void for_outputs(const RowsDispatchArgs& a, std::int64_t row, F&& f) {
  if (!a.expanded) return f(row);
  for_places(a.op, row, a.k, [&](std::int64_t place, std::int32_t) { f(place); });
}

// A received row's scales to where its output stands. A warp's work.
template <Machine M>
BRAID_HD void write_scales(M& m, const RowsDispatchArgs& a, const Rows& rows, std::int64_t row,
                           const float* scales) {
  for_outputs(a, row, [&](std::int64_t at) {
    auto* out = reinterpret_cast<float*>(a.out_scales) + at * rows.scale_words;
    m.for_lanes(static_cast<int>(rows.scale_words), [&](int word) { out[word] = scales[word]; });
  });
}

// To the place of a row at its rank. A lane's work.
template <Machine M>
BRAID_HD void send_row_to(M& m, const RowsDispatchArgs& a, const Rows& rows,
                          const machine::Staged& staged, std::int64_t token,
                          const Destination& to) {
  const layout::ThroughputMap& map = a.op.map;
  if (to.rank == m.rank() && !a.in_region) {
    for_outputs(a, to.row, [&](std::int64_t at) {
      m.copy(staged, 0, rows.data_bytes, a.out_x + at * rows.data_bytes);
    });
    return;
  }
  m.count_message(to.rank);
  m.send({staged.data, rows.data_bytes}, to.rank, 0, map.row(rows.depth, to.row, rows.data_bytes));
  if (rows.scale_words > 0) {
    m.write(reinterpret_cast<const std::byte*>(scales_of(a, rows, staged, token)),
            4 * rows.scale_words, to.rank, 0, map.row_scales(rows.depth, to.row));
  }
  // Its receiver knows what the row's weights are of, and takes them from here.
  if (a.weights != nullptr && to.rank != m.rank()) {
    m.write(reinterpret_cast<const std::byte*>(a.weights + token * a.k), std::int64_t{4} * a.k,
            to.rank, 0, map.row_weights(rows.depth, to.row));
  }
}

// A token to all of its ranks. A warp's work.
template <Machine M>
BRAID_HD void send_token(M& m, const RowsDispatchArgs& a, const Rows& rows, std::int64_t token) {
  const Destination* to = destinations_of(a.op, token);
  if (to[0].rank < 0) return;
  m.settle();
  const auto staged = stage_token(m, a, rows, token);
  const int most = a.op.map.shape.most_ranks();
  m.for_lanes(most, [&](int i) {
    if (to[i].rank >= 0) send_row_to(m, a, rows, staged, token, to[i]);
  });
  if (a.in_region || rows.scale_words == 0) return;
  for (int i = 0; i < most; ++i) {
    if (to[i].rank != m.rank()) continue;
    const float* scales = scales_of(a, rows, staged, token);
    write_scales(m, a, rows, to[i].row, scales);
  }
}

// Some tokens' rows are where they go: tells their ranks. A warp's work.
template <Machine M>
BRAID_HD void raise_rows(M& m, const RowsDispatchArgs& a, const Rows& rows, std::int64_t first,
                         const WarpShare& share) {
  m.drain();
  const int most = a.op.map.shape.most_ranks();
  m.for_lanes(most * kFlagBatch, [&](int i) {
    const std::int64_t token = first + i / most * share.step;
    if (token >= a.num_tokens) return;
    const Destination to = destinations_of(a.op, token)[i % most];
    if (to.rank < 0 || to.rank == m.rank()) return;
    m.raise(to.rank, a.op.map.arrived_flag(rows.depth, to.row), layout::make_word(rows.epoch, 0));
  });
}

template <Machine M>
BRAID_HD void send_rows(M& m, const RowsDispatchArgs& a, const Rows& rows, const WarpShare& share) {
  for (std::int64_t first = share.first; first < a.num_tokens; first += kFlagBatch * share.step) {
    for (int i = 0; i < kFlagBatch; ++i) {
      const std::int64_t token = first + i * share.step;
      if (token < a.num_tokens) send_token(m, a, rows, token);
    }
    raise_rows(m, a, rows, first, share);
  }
}

// What a row's choices are to the experts here. A warp's work.
template <Machine M>
BRAID_HD void write_choices(M& m, const RowsDispatchArgs& a, std::int64_t row,
                            const float* weights) {
  const std::int32_t* experts = experts_of(a.op, row);
  m.for_lanes(a.k, [&](int choice) {
    const std::int64_t at = row * a.k + choice;
    const std::int32_t local = experts[choice];
    if (a.out_topk_idx != nullptr && a.is_int64) {
      static_cast<std::int64_t*>(a.out_topk_idx)[at] = local;
    } else if (a.out_topk_idx != nullptr) {
      static_cast<std::int32_t*>(a.out_topk_idx)[at] = local;
    }
    if (a.out_weights != nullptr) a.out_weights[at] = local >= 0 ? weights[choice] : 0.0F;
  });
  if (!a.expanded || m.lane() != 0) return;
  for_places(a.op, row, a.k,
             [&](std::int64_t place, std::int32_t local) { a.out_experts[place] = local; });
}

// From where a row has arrived to the output. A warp's work.
template <Machine M>
BRAID_HD void take_row(M& m, const RowsDispatchArgs& a, const Rows& rows, std::int64_t row) {
  const layout::ThroughputMap& map = a.op.map;
  m.settle();
  const auto staged =
      m.stage(m.local() + map.row(rows.depth, row, rows.data_bytes), rows.data_bytes);
  if (m.lane() == 0) {
    for_outputs(a, row, [&](std::int64_t at) {
      m.copy(staged, 0, rows.data_bytes, a.out_x + at * rows.data_bytes);
    });
  }
  if (rows.scale_words == 0) return;
  write_scales(m, a, rows, row,
               reinterpret_cast<const float*>(m.local() + map.row_scales(rows.depth, row)));
}

// One row, once it is there. False where it does not come. A warp's work.
template <Machine M>
BRAID_HD bool receive_row(M& m, const RowsDispatchArgs& a, const Rows& rows, int source,
                          std::int64_t row) {
  if (source == m.rank()) {
    const std::int64_t token = origin_of(a.op, row).slot / a.op.map.shape.most_ranks();
    write_choices(m, a, row, a.weights == nullptr ? nullptr : a.weights + token * a.k);
    return true;
  }
  const auto flag = m.wait_warp(flag_at(m.local(), a.op.map.arrived_flag(rows.depth, row)),
                                rows.epoch, WaitTag{Operation::kDispatch, 0, source}, nullptr);
  if (!flag.reached) return false;
  m.sync_warp();  // one lane has waited, all of them read
  if (!a.in_region) take_row(m, a, rows, row);
  write_choices(m, a, row,
                reinterpret_cast<const float*>(m.local() + a.op.map.row_weights(rows.depth, row)));
  return true;
}

// The expanded form's padding, and what is past it: no expert's.
template <Machine M>
BRAID_HD void fill_padding(M& m, const RowsDispatchArgs& a, const WarpShare& share) {
  const int num_local = a.op.map.shape.num_local();
  const layout::ThroughputLocalMap& map = a.op.local_map;
  const auto* starts = in_local<const std::uint32_t>(a.op, map.expert_start(a.op.handle_slot, 0));
  const auto* ends = in_local<const std::uint32_t>(a.op, map.expert_end(a.op.handle_slot, 0));
  for (std::int64_t local = share.first; local <= num_local; local += share.step) {
    const bool is_tail = local == num_local;
    const std::int64_t begin = is_tail ? starts[local] : ends[local];
    const std::int64_t end = is_tail ? a.num_rows : starts[local + 1];
    m.for_lanes(static_cast<int>(end - begin), [&](int i) { a.out_experts[begin + i] = -1; });
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
    if (split.sends.takes_part) detail::send_rows(m, a, rows, split.sends);
    if (split.receives.takes_part) {
      detail::for_rows(m, a.op, split.receives, [&](int source, std::int64_t row) {
        return detail::receive_row(m, a, rows, source, row);
      });
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
