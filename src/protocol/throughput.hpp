// What the operations of high throughput share. Each sends and receives in one role, of which a
// node's ranks run all workers at the same time; a warp takes a token or a row at a time.
#pragma once

#include "layout/scratch.hpp"
#include "protocol/control.hpp"

namespace braid::protocol {

using layout::Destination;
using layout::RowOrigin;

namespace detail {

using layout::kArrivals;
using layout::kMostRows;
using layout::kRowBatch;
using layout::kTakenBatches;

// Which warps of the rank's workers do something, and which of them this one is.
struct WarpShare {
  bool takes_part = false;
  std::int64_t first = 0;
  std::int64_t step = 1;

  // These warps of these workers. Neighbors go to different workers, so that little work uses all
  // of them.
  template <Machine M>
  BRAID_HD static WarpShare of(const M& m, const Range& workers, const Range& warps) {
    const std::int64_t worker = m.worker() - workers.begin;
    const std::int64_t warp = m.warp() - warps.begin;
    const bool takes_part =
        worker >= 0 && worker < workers.size() && warp >= 0 && warp < warps.size();
    return {takes_part, warp * workers.size() + worker, warps.size() * workers.size()};
  }
  template <Machine M>
  BRAID_HD static WarpShare all(const M& m) {
    return of(m, {0, m.num_workers()}, {0, m.num_warps()});
  }
};

// Some of a worker's warps send while the rest receive; a lone warp does one after the other. Or
// some workers send while the rest receive, which may be none: a worker's sends that wait for the
// link then keep none of its receives waiting.
struct Split {
  WarpShare sends, receives;

  template <Machine M>
  BRAID_HD static Split of(const M& m) {
    const Range workers{0, m.num_workers()};
    const int senders = m.num_senders();
    const int apart = m.sending_workers();
    if (apart > 0) {
      return {WarpShare::of(m, {0, apart}, {0, senders}),
              WarpShare::of(m, {apart, workers.end}, {0, m.num_warps()})};
    }
    const int first_receiver = m.num_warps() == senders ? 0 : senders;
    return {WarpShare::of(m, workers, {0, senders}),
            WarpShare::of(m, workers, {first_receiver, m.num_warps()})};
  }
};

// How many neighbors a warp takes together: few items are shared out one by one.
BRAID_HD inline std::int64_t batch_of(std::int64_t items, const WarpShare& share, int most) {
  return max_of(std::int64_t{1}, min_of(std::int64_t{most}, quotient(items, share.step)));
}

// Sends a warp's rows: has begun some ahead, and raises the flags of a batch when the next one is
// on its way. `Rows` says what the rows are:
//   claims           of the warp's rows, a batch at a time
//   ahead()          how many are begun before the one that is sent
//   look_up(i, n)    looks up what is to be known of n rows from i on, which were claimed
//   exists(i)        whether row i, which is known, is one
//   begin(i)         begins row i of the warp's
//   send(i)          takes it, issues its copies
//   raise(i, count)  raises the flags of count rows from i on
// A warp's work.
template <Machine M, class Rows>
BRAID_HD void send_in_turn(M& m, Rows& rows) {
  const int ahead = rows.ahead();
  const auto batch = static_cast<int>(rows.claims.size);
  std::int64_t known = 0, begun = 0, raised = 0;
  bool more = true;
  for (std::int64_t row = 0;; ++row) {
    for (; begun <= row + ahead; ++begun) {
      if (begun == known && more) {
        const int count = rows.claims.claim(m, known);
        rows.look_up(known, count);
        known += count;
        more = count == rows.claims.size;
      }
      if (begun == known) break;
      if (rows.exists(begun)) rows.begin(begun);
    }
    if (row == begun) break;
    if (rows.exists(row)) {
      rows.send(row);
      m.leave_row();
    } else {
      m.skip_row();
    }
    if (row + 1 < raised + 2 * batch) continue;
    m.drain_rows(batch);
    rows.raise(raised, batch);
    raised += batch;
  }
  m.drain_rows(0);
  rows.raise(raised, static_cast<int>(begun - raised));
}

// A warp's tables in its worker's scratch.
struct RowTables {
  Destination* destinations;
  std::int64_t* rows;
  RowOrigin* origins;
  const std::byte** sums;
  std::uint32_t* batches;
  int most_ranks;

  template <Machine M>
  BRAID_HD static RowTables of(M& m, const layout::ThroughputShape& shape) {
    const auto at = layout::ThroughputRowScratch::of(shape);
    std::byte* own = m.scratch() + m.warp() * at.bytes;
    return {reinterpret_cast<Destination*>(own + at.destinations),
            reinterpret_cast<std::int64_t*>(own + at.rows),
            reinterpret_cast<RowOrigin*>(own + at.origins),
            reinterpret_cast<const std::byte**>(own + at.sums),
            reinterpret_cast<std::uint32_t*>(own + at.batches),
            shape.most_ranks()};
  }
  BRAID_HD static int place_of(std::int64_t number) {
    return static_cast<int>(static_cast<std::uint32_t>(number) % kMostRows);
  }
  BRAID_HD Destination* destinations_of(std::int64_t number) const {
    return destinations + place_of(number) * most_ranks;
  }
};

template <class T>
BRAID_HD T* in_local(const ThroughputArgs& op, std::int64_t offset) {
  return reinterpret_cast<T*>(op.local + offset);
}

// Work that warps take a batch at a time, as they get on: a link serves some of them better than
// others. Rows of a warp's are numbered from 0 on; which items they are follows from its claims.
struct Claims {
  std::uint32_t* counter = nullptr;  // in the local block
  std::uint32_t* batches = nullptr;  // the warp's newest, in its scratch
  std::int64_t count = 0;            // of items
  std::int64_t size = kRowBatch;     // of a batch, at most kRowBatch

  // The rows from `first` on; returns how many. A warp's work.
  template <Machine M>
  BRAID_HD int claim(M& m, std::int64_t first) const {
    const std::uint32_t batch = m.claim(counter);
    if (m.lane() == 0) batches[quotient(first, size) % layout::kMostBatches] = batch;
    m.sync_warp();
    return static_cast<int>(
        max_of(std::int64_t{0}, min_of(size, count - std::int64_t{batch} * size)));
  }
  BRAID_HD std::int64_t item_of(std::int64_t row) const {
    const std::int64_t batch = quotient(row, size);
    return batches[batch % layout::kMostBatches] * size + (row - batch * size);
  }
};

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

// Of the expanded form: a received row's places, by choice.
BRAID_HD inline const std::uint32_t* places_of(const ThroughputArgs& op, std::int64_t row) {
  return in_local<const std::uint32_t>(op, op.local_map.places_of(op.handle_slot, row));
}
// Whether a choice's expert is here, and no earlier choice's.
BRAID_HD inline bool is_first_naming(const std::int32_t* experts, int choice) {
  bool is_first = experts[choice] >= 0;
  for (int other = 0; other < choice; ++other) {
    is_first = is_first && experts[other] != experts[choice];
  }
  return is_first;
}

// Those of the rows that are sent, in batches of so many.
BRAID_HD inline Claims send_claims_of(const ThroughputArgs& op, const RowTables& tables,
                                      std::int64_t count, std::int64_t size) {
  return {in_local<std::uint32_t>(op, op.local_map.claims.offset), tables.batches, count, size};
}

// Of what is received: those who have sent all they had take some, too.
BRAID_HD inline std::uint32_t* receive_counter(const ThroughputArgs& op) {
  return in_local<std::uint32_t>(op, op.local_map.receive_claims.offset);
}

// The rows that come from other ranks, as items: a row of each source in turn, since all of them
// send at the same time, and none is to wait for another one's rows to be taken first.
struct RowItems {
  const std::uint32_t* starts = nullptr;
  int rank = 0;
  int others = 0;  // ranks but this one
  std::int64_t count =
      0;  // of items, some of which are no row where sources have different numbers

  template <Machine M>
  BRAID_HD static RowItems of(const M& m, const ThroughputArgs& op) {
    const std::uint32_t* starts = row_starts(op);
    const int ranks = op.map.shape.num_ranks;
    std::int64_t most = 0;
    for (int source = 0; source < ranks; ++source) {
      if (source == m.rank()) continue;
      most = max_of(most, std::int64_t{starts[source + 1] - starts[source]});
    }
    return {starts, m.rank(), ranks - 1, most * (ranks - 1)};
  }
  BRAID_HD int source_of(std::int64_t item) const {
    const int source = rank + 1 + static_cast<int>(item - quotient(item, others) * others);
    return source > others ? source - others - 1 : source;
  }
  // -1 where the item is no row.
  BRAID_HD std::int64_t row_of(std::int64_t item) const {
    const int source = source_of(item);
    const std::int64_t row = starts[source] + quotient(item, others);
    return row < starts[source + 1] ? row : -1;
  }
};

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
  *in_local<std::uint32_t>(op, op.local_map.claims.offset) = 0;
  *in_local<std::uint32_t>(op, op.local_map.receive_claims.offset) = 0;
  state_of(op).epoch = epoch;
  state_of(op).unraised = epoch;
}

BRAID_HD inline const Word* flag_at(const std::byte* block, std::int64_t offset) {
  return reinterpret_cast<const Word*>(block + offset);
}

}  // namespace detail

}  // namespace braid::protocol
