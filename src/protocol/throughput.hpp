// What the operations of high throughput share. Each sends and receives in one role, of which a
// node's ranks run all workers at the same time; a warp takes a token or a row at a time.
#pragma once

#include "layout/scratch.hpp"
#include "protocol/control.hpp"

namespace braid::protocol {

using layout::Destination;
using layout::RowOrigin;

namespace detail {

using layout::kFlagBatch;

// Which warps of the rank's workers do something, and which of them this one is.
struct WarpShare {
  bool takes_part = false;
  std::int64_t first = 0;
  std::int64_t step = 1;

  // Neighbors go to different workers, so that little work uses all of them.
  template <Machine M>
  BRAID_HD static WarpShare of(const M& m, int first_warp, int num_warps) {
    const int warp = m.warp() - first_warp;
    return {warp >= 0 && warp < num_warps, std::int64_t{warp} * m.num_workers() + m.worker(),
            std::int64_t{num_warps} * m.num_workers()};
  }
};

// Half of a worker's warps send while the rest receive; a lone warp does one after the other.
struct Split {
  WarpShare sends, receives;

  template <Machine M>
  BRAID_HD static Split of(const M& m) {
    const int senders = max_of(m.num_warps() / 2, 1);
    const int first_receiver = m.num_warps() == 1 ? 0 : senders;
    return {WarpShare::of(m, 0, senders),
            WarpShare::of(m, first_receiver, m.num_warps() - first_receiver)};
  }
};

template <class T>
BRAID_HD T* in_local(const ThroughputArgs& op, std::int64_t offset) {
  return reinterpret_cast<T*>(op.local + offset);
}
BRAID_HD inline const std::uint32_t* row_starts(const ThroughputArgs& op) {
  return in_local<const std::uint32_t>(op, op.local_map.row_start(op.handle_slot, 0));
}
BRAID_HD inline Destination* destinations_of(const ThroughputArgs& op, std::int64_t token) {
  return in_local<Destination>(op, op.local_map.destination(op.handle_slot, token));
}
BRAID_HD inline RowOrigin& origin_of(const ThroughputArgs& op, std::int64_t row) {
  return *in_local<RowOrigin>(op, op.local_map.origin(op.handle_slot, row));
}
BRAID_HD inline std::int32_t* experts_of(const ThroughputArgs& op, std::int64_t row) {
  return in_local<std::int32_t>(op, op.local_map.experts_of(op.handle_slot, row));
}

// Of the expanded form: calls f(place, local expert) for each of a received row's places.
template <class F>
BRAID_HD void for_places(const ThroughputArgs& op, std::int64_t row, int k, F&& f) {
  const std::int32_t* experts = experts_of(op, row);
  const auto* places =
      in_local<const std::uint32_t>(op, op.local_map.places_of(op.handle_slot, row));
  for (int choice = 0; choice < k; ++choice) {
    bool is_first = experts[choice] >= 0;
    for (int other = 0; other < choice; ++other) {
      is_first = is_first && experts[other] != experts[choice];
    }
    if (is_first) f(std::int64_t{places[choice]}, experts[choice]);
  }
}

// Calls f(source, row) for a warp's part of the received rows, the sources in turn: all of them
// send at the same time, and none is to wait for another one's rows to be taken first. Ends early
// where f is false.
template <Machine M, class F>
BRAID_HD void for_rows(const M& m, const ThroughputArgs& op, const WarpShare& share, F&& f) {
  const std::uint32_t* starts = row_starts(op);
  const int ranks = op.map.shape.num_ranks;
  std::int64_t most = 0;
  for (int source = 0; source < ranks; ++source) {
    most = max_of(most, std::int64_t{starts[source + 1] - starts[source]});
  }
  for (std::int64_t item = share.first; item < most * ranks; item += share.step) {
    const std::int64_t turn = quotient(item, ranks);
    // Other ranks' rows before this rank's own.
    const int step = static_cast<int>(item - turn * ranks) + m.rank() + 1;
    const int source = step >= ranks ? step - ranks : step;
    const std::int64_t row = starts[source] + turn;
    if (row < starts[source + 1] && !f(source, row)) return;
  }
}

// Waits until every peer has received what this operation's depth held. False where one did not
// come.
template <Machine M>
BRAID_HD bool begin_operation(M& m, const ThroughputArgs& op, std::uint32_t epoch,
                              Operation operation) {
  await_depth(m, op, epoch, WaitTag{operation, 0, 0}, nullptr);
  m.sync_worker();
  return !m.failed();
}

// Of one warp of each worker, after sync_worker: whether its worker is the operation's last.
template <Machine M>
BRAID_HD bool is_last(M& m, const ThroughputArgs& op) {
  return m.last_worker(in_local<std::uint32_t>(op, op.local_map.workers_done.offset));
}

// A warp of the last worker's. That the depth may be written again is left to the next operation's
// beginning to say, so that what was received may stay in it until then.
template <Machine M>
BRAID_HD void end_operation(M& m, const ThroughputArgs& op, std::uint32_t epoch) {
  if (m.lane() != 0) return;
  state_of(op).epoch = epoch;
  state_of(op).unraised = epoch;
}

BRAID_HD inline const Word* flag_at(const std::byte* block, std::int64_t offset) {
  return reinterpret_cast<const Word*>(block + offset);
}

}  // namespace detail

}  // namespace braid::protocol
