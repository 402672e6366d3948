// High throughput's combine, written once for every machine: each received row back to its token's
// rank, into the slot that its layout gave it, and there the sum of a token's rows in the order of
// their ranks. Rows of this rank's own tokens are summed where they are.
#pragma once

#include "protocol/throughput.hpp"

namespace braid::protocol {

namespace detail {

// A warp's: the rows of one sum, and their weights; the rows that it has sent.
struct RowSumTables {
  const std::byte** rows;
  float* weights;
  std::uint32_t* batch;  // [kFlagBatch]

  template <Machine M>
  BRAID_HD static RowSumTables of(M& m, const layout::ThroughputShape& shape) {
    const auto at = layout::ThroughputSumScratch::of(shape);
    std::byte* own = m.scratch() + m.warp() * at.warp_bytes;
    return {reinterpret_cast<const std::byte**>(own), reinterpret_cast<float*>(own + at.weights),
            reinterpret_cast<std::uint32_t*>(own + at.batch)};
  }
};

// The expanded form: a received row's experts' rows, weighted and summed, in the order of its
// choices. A warp's work.
template <Machine M>
BRAID_HD void sum_experts(M& m, const RowsCombineArgs& a, std::int64_t row, std::byte* to) {
  const auto tables = RowSumTables::of(m, a.op.map.shape);
  const std::int32_t* experts = experts_of(a.op, row);
  const auto* places =
      in_local<const std::uint32_t>(a.op, a.op.local_map.places_of(a.op.handle_slot, row));
  int count = 0;
  for (int choice = 0; choice < a.k; ++choice) {
    if (experts[choice] < 0) continue;
    if (m.lane() == 0) {
      tables.rows[count] = reinterpret_cast<const std::byte*>(a.x + std::int64_t{places[choice]} *
                                                                        a.op.map.shape.hidden);
      tables.weights[count] = a.weights[row * a.k + choice];
    }
    ++count;
  }
  m.sync_warp();
  m.sum_rows({tables.rows, tables.weights, count, a.op.map.shape.hidden, CombineFormat::kBf16}, to);
  m.sync_warp();
}

// A received row as it goes home. A warp's work.
template <Machine M>
BRAID_HD machine::Staged stage_home(M& m, const RowsCombineArgs& a, std::int64_t row) {
  const int hidden = a.op.map.shape.hidden;
  if (!a.expanded) return m.stage_row(CombineFormat::kBf16, a.x + row * hidden, hidden);
  return m.stage_filled(a.op.map.shape.home_row_bytes(),
                        [&](std::byte* to) { sum_experts(m, a, row, to); });
}

// A row and its weights into their slot at home. A warp's work.
template <Machine M>
BRAID_HD void send_row_home(M& m, const RowsCombineArgs& a, std::uint32_t epoch, std::int64_t row) {
  const layout::ThroughputMap& map = a.op.map;
  const RowOrigin home = origin_of(a.op, row);
  const int rank = static_cast<int>(home.rank);
  const int depth = depth_of(a.op, epoch);
  m.settle();
  const auto staged = stage_home(m, a, row);
  if (m.lane() != 0) return;
  m.send(staged, rank, 0, map.home_row(depth, home.slot));
  if (a.weights != nullptr && !a.expanded) {
    m.write(reinterpret_cast<const std::byte*>(a.weights + row * a.k), std::int64_t{4} * a.k, rank,
            0, map.home_weights(depth, home.slot));
  }
  m.count_message(rank);
}

// The first `count` rows of the batch are at home: tells their ranks. A warp's work.
template <Machine M>
BRAID_HD void raise_returned(M& m, const RowsCombineArgs& a, std::uint32_t epoch, int count) {
  const std::uint32_t* batch = RowSumTables::of(m, a.op.map.shape).batch;
  m.drain();  // also what lane 0 has noted
  m.for_lanes(count, [&](int i) {
    const RowOrigin home = origin_of(a.op, batch[i]);
    m.raise(static_cast<int>(home.rank), a.op.map.returned_flag(depth_of(a.op, epoch), home.slot),
            layout::make_word(epoch, 0));
  });
  m.sync_warp();
}

template <Machine M>
BRAID_HD void send_rows_home(M& m, const RowsCombineArgs& a, std::uint32_t epoch,
                             const WarpShare& share) {
  const auto tables = RowSumTables::of(m, a.op.map.shape);
  int count = 0;
  for_rows(m, a.op, share, [&](int source, std::int64_t row) {
    if (source == m.rank()) return true;
    send_row_home(m, a, epoch, row);
    if (m.lane() == 0) tables.batch[count] = static_cast<std::uint32_t>(row);
    if (++count < kFlagBatch) return true;
    raise_returned(m, a, epoch, count);
    count = 0;
    return true;
  });
  raise_returned(m, a, epoch, count);
}

// Waits for the rows of a token that come from elsewhere. False where one does not.
template <Machine M>
BRAID_HD bool await_rows(M& m, const RowsCombineArgs& a, std::uint32_t epoch, std::int64_t token) {
  const int most = a.op.map.shape.most_ranks();
  const Destination* from = destinations_of(a.op, token);
  for (int i = 0; i < most && from[i].rank >= 0; ++i) {
    if (from[i].rank == m.rank()) continue;
    const auto* flag =
        flag_at(m.local(), a.op.map.returned_flag(depth_of(a.op, epoch), token * most + i));
    const WaitTag tag{Operation::kCombine, 0, from[i].rank};
    if (!m.wait_warp(flag, epoch, tag, nullptr).reached) return false;
  }
  return true;
}

// The weights that came back with a token's rows, summed in the order of the rows.
template <Machine M>
BRAID_HD void sum_weights(M& m, const RowsCombineArgs& a, std::uint32_t epoch, std::int64_t token) {
  const int most = a.op.map.shape.most_ranks();
  const int depth = depth_of(a.op, epoch);
  const Destination* from = destinations_of(a.op, token);
  m.for_lanes(a.k, [&](int choice) {
    float sum = 0.0F;
    for (int i = 0; i < most && from[i].rank >= 0; ++i) {
      const auto* weights = from[i].rank == m.rank()
                                ? a.weights + std::int64_t{from[i].row} * a.k
                                : reinterpret_cast<const float*>(
                                      m.local() + a.op.map.home_weights(depth, token * most + i));
      sum = codec::add_rn(sum, weights[choice]);
    }
    a.out_weights[token * a.k + choice] = sum;
  });
}

// A token's biases and rows, in order; returns how many. A warp's work.
template <Machine M>
BRAID_HD int gather_token(M& m, const RowsCombineArgs& a, const RowSumTables& tables,
                          std::uint32_t epoch, std::int64_t token) {
  const int most = a.op.map.shape.most_ranks();
  const int hidden = a.op.map.shape.hidden;
  const Destination* from = destinations_of(a.op, token);
  int count = a.num_biases;
  while (count - a.num_biases < most && from[count - a.num_biases].rank >= 0) ++count;
  m.for_lanes(count, [&](int i) {
    const int place = i - a.num_biases;
    tables.weights[i] = 1.0F;
    if (place < 0) {
      tables.rows[i] = reinterpret_cast<const std::byte*>(a.biases[i] + token * hidden);
    } else if (from[place].rank == m.rank() && !a.expanded) {
      tables.rows[i] =
          reinterpret_cast<const std::byte*>(a.x + std::int64_t{from[place].row} * hidden);
    } else {
      tables.rows[i] = m.local() + a.op.map.home_row(depth_of(a.op, epoch), token * most + place);
    }
  });
  m.sync_warp();
  return count;
}

// The expanded form: this rank's own row of a token as every rank's comes home, in its slot.
template <Machine M>
BRAID_HD void sum_own_experts(M& m, const RowsCombineArgs& a, std::uint32_t epoch,
                              std::int64_t token) {
  const int most = a.op.map.shape.most_ranks();
  const Destination* from = destinations_of(a.op, token);
  for (int i = 0; i < most && from[i].rank >= 0; ++i) {
    if (from[i].rank != m.rank()) continue;
    sum_experts(m, a, from[i].row,
                m.local() + a.op.map.home_row(depth_of(a.op, epoch), token * most + i));
  }
}

template <Machine M>
BRAID_HD void sum_tokens(M& m, const RowsCombineArgs& a, std::uint32_t epoch,
                         const WarpShare& share) {
  const auto tables = RowSumTables::of(m, a.op.map.shape);
  const int hidden = a.op.map.shape.hidden;
  for (std::int64_t token = share.first; token < a.num_tokens; token += share.step) {
    if (!await_rows(m, a, epoch, token)) return;
    if (a.expanded) sum_own_experts(m, a, epoch, token);
    const int count = gather_token(m, a, tables, epoch, token);
    m.sum_rows({tables.rows, tables.weights, count, hidden, CombineFormat::kBf16},
               reinterpret_cast<std::byte*>(a.out + token * hidden));
    if (a.out_weights != nullptr) sum_weights(m, a, epoch, token);
    m.sync_warp();
  }
}

}  // namespace detail

// All workers of all ranks run it at the same time; collective over the worker.
template <Machine M>
BRAID_HD void combine_rows(M& m, const RowsCombineArgs& a) {
  const std::uint32_t epoch = state_of(a.op).epoch + 1;
  if (detail::begin_operation(m, a.op, epoch, Operation::kCombine)) {
    const auto split = detail::Split::of(m);
    if (split.sends.takes_part) detail::send_rows_home(m, a, epoch, split.sends);
    if (split.receives.takes_part) detail::sum_tokens(m, a, epoch, split.receives);
  }
  m.sync_worker();
  if (m.warp() != 0 || !detail::is_last(m, a.op) || m.failed()) return;
  detail::end_operation(m, a.op, epoch);
}

}  // namespace braid::protocol
