// The vocabulary that roles are written in. A machine is one thread's view of a rank: on a CPU a
// worker is one thread (one warp of one lane); on CUDA a worker is a block of several warps.
//
// Collective calls: sync_warp, wait_warp, wait_each, last_worker, stage, stage_row, stage_filled,
// begin_row, take_row, take_encoded_row, leave_row, skip_row, drain_rows, claim,
// drain, write_together, sum_rows, sum_nested, send_nested by all lanes of a warp together;
// sync_worker, stage_encoded, stage_sum, weighted_sum by all threads of a worker together. The rest
// is a single thread's.
//
// What a warp staged is its own until it stages again. What a worker staged is for all its warps:
// stage_encoded and stage_sum end with the worker in step. Rows of stage_encoded alternate between
// two places: a warp may still be sending one while others stage the next. It has issued its sends
// of a row before it joins the worker in staging the next one.
//
// Memory order. `raise` is a release store at system scope: what the raising warp wrote, sent and
// drained before it is seen by whoever waits for it (wait acquires). What other warps of the worker
// wrote is covered only after sync_worker, what other workers wrote only after last_worker. `post`
// promises nothing but the word itself.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>

#include "base/device.hpp"
#include "braid/format.hpp"
#include "layout/map.hpp"

namespace braid::machine {

using layout::Word;

enum class Operation : std::int32_t {
  kNone,
  kDispatchSend,
  kDispatchReceive,
  kCombineSend,
  kCombineReceive,
  // High throughput: sends and receives in one.
  kLayout,
  kDispatch,
  kCombine,
};

// Which epochs of a flag end a wait. A flag that moves on without its waiters needs kAtLeast: a
// worker that comes late to a send may find that the peer has received this very operation already.
enum class Until : std::int32_t { kExactly, kAtLeast };

// Who waits for whom, and why: what a timeout reports.
struct WaitTag {
  Operation operation = Operation::kNone;
  std::int32_t round = 0;
  std::int32_t peer = 0;  // the rank that would raise the flag
  Until until = Until::kExactly;
  // Of a wait for rows that this rank itself is making (then peer is this rank): a local expert and
  // a block of its rows.
  std::int32_t expert = -1;
  std::int32_t block = -1;

  BRAID_HD constexpr bool is_of_block() const { return expert >= 0; }
};

BRAID_HD constexpr bool is_reached(Word seen, std::uint32_t epoch, const WaitTag& tag) {
  const std::uint32_t ahead = layout::epoch_of(seen) - epoch;  // modulo 2^32
  return ahead == 0 || (tag.until == Until::kAtLeast && ahead < 1U << 31);
}

struct WaitResult {
  bool reached = false;
  Word seen = 0;
};

// A block's signal as a wait sees it: a word whose epoch is the count.
BRAID_HD constexpr Word signal_word(std::int32_t count) {
  return layout::make_word(static_cast<std::uint32_t>(count), 0);
}

// What to do when a peer does not answer in time. Only kFail is offered: the operation ends, and
// every rank of the group with it.
enum class TimeoutPolicy : std::int32_t { kFail, kMask };

// The first value of a top-k table that is neither -1 nor an expert, where the host could not read
// the table. It counted as -1 and its operation went on, so it is no failure and has a record of
// its own. `state` as below; 0 again once the record was read, for the next one.
struct BadChoiceRecord {
  std::uint32_t state = 0;
  std::int32_t choice = 0;
  std::int64_t token = 0;
  std::int64_t value = 0;
  std::uint32_t times_read = 0;
};

// The first timeout of a rank's operations. `state` is 0, 1 while it is being written, then 2.
struct TimeoutRecord {
  std::uint32_t state = 0;
  WaitTag tag;
  std::uint32_t expected_epoch = 0;
  Word seen = 0;
  BadChoiceRecord bad_choice;
};

// Bytes that are ready to be sent, wherever the machine keeps them.
struct Staged {
  const std::byte* data = nullptr;
  std::int64_t bytes = 0;
};

// A row and, behind it, its scales, where it has any: in memory, or taken.
struct Row {
  Staged data;
  Staged scales;
};

// A weighted sum of rows: out = bf16(sum of weight * row, f32 fma, in order, starting at +0).
struct SumRequest {
  const std::byte* const* rows = nullptr;
  const float* weights = nullptr;  // sum_rows: none, all are 1
  int num_rows = 0;
  int hidden = 0;
  CombineFormat format = CombineFormat::kBf16;  // of the rows
};

// A sum of rows of which one is a weighted sum itself, of inner rows: out = bf16(sum of terms, f32,
// in order, starting at +0). The terms are the plain rows and, if there are inner rows, before the
// inner_at-th of them (or behind all) bf16(sum of weight * inner row, as in SumRequest).
struct NestedSum {
  const std::byte* const* rows = nullptr;  // the inner ones, then the plain ones
  const float* weights = nullptr;          // of the inner rows
  int num_inner = 0;
  int num_plain = 0;
  int inner_at = 0;
  int hidden = 0;
};

template <class M>
concept Machine = requires(M m, std::byte* bytes, const std::byte* source, std::int64_t n,
                           const Word* flag, Word word, std::uint32_t* counter, int rank,
                           WaitTag tag, Staged staged, const SumRequest& sum, std::uint64_t id,
                           const std::uint16_t* row, std::int64_t* total, Word* host_word,
                           const std::int32_t* signal, const Row& whole, const NestedSum& nested,
                           WaitResult (*wait_for)(int), void (*each)(int),
                           void (*fill)(std::byte*)) {
  // Where this thread is.
  { m.rank() } -> std::same_as<int>;
  { m.worker() } -> std::same_as<int>;
  { m.num_workers() } -> std::same_as<int>;
  { m.warp() } -> std::same_as<int>;  // in its worker
  { m.num_warps() } -> std::same_as<int>;
  // Of them, the first ones, which send where an operation sends and receives at once; the others
  // receive. All where there is one.
  { m.num_senders() } -> std::same_as<int>;
  // If not 0, so many workers send, with their num_senders(), before they receive, if they do; the
  // others only receive, and may be none.
  { m.sending_workers() } -> std::same_as<int>;
  { m.lane() } -> std::same_as<int>;  // in its warp
  { m.num_lanes() } -> std::same_as<int>;
  { m.thread() } -> std::same_as<int>;  // in its worker
  { m.num_threads() } -> std::same_as<int>;
  // Calls f(i) for each i in [0, n), shared out over the warp's lanes or the worker's threads.
  m.for_lanes(1, each);
  m.for_threads(1, each);
  m.sync_warp();
  m.sync_worker();
  // The worker's shared memory for a role's tables (layout/scratch.hpp).
  { m.scratch() } -> std::same_as<std::byte*>;
  m.scratch_add(counter, 1U);  // atomic among the worker's threads
  m.scratch_or(counter, 1U);
  m.count(counter, 1U);  // in the local block: atomic among all workers' threads
  // After sync_worker, one warp of each worker: true in the last worker of a phase to come here,
  // which has then seen what all of them did; the counter starts over.
  { m.last_worker(counter) } -> std::same_as<bool>;

  // Reach. local() is this rank's symmetric block.
  { m.local() } -> std::same_as<std::byte*>;
  { m.reachable(rank) } -> std::same_as<bool>;  // by load and store

  // Flags. A wait ends when the flag's epoch is the expected one, at its deadline, or at once when
  // this rank or a peer has failed. The time it took is added to *total (may be null).
  { m.wait(flag, 1U, tag, total) } -> std::same_as<WaitResult>;
  { m.wait_warp(flag, 1U, tag, total) } -> std::same_as<WaitResult>;  // a warp for one flag
  // The same for a count that whoever makes this rank's rows adds to, on this device: until it is
  // the expected one. What it acquired is shown to the rows that the worker stages after
  // sync_worker.
  { m.wait_count(signal, 1, tag) } -> std::same_as<WaitResult>;
  // A warp's waits, wait_for(i) for each i in [0, n), shared out over its lanes: whether all ended
  // well. What they acquired is shown to the rows that the warp begins afterwards.
  { m.wait_each(1, wait_for) } -> std::same_as<bool>;
  // Whether this rank or a peer has failed, as of the worker's last sync_worker: its threads agree.
  { m.failed() } -> std::same_as<bool>;
  // A single thread's, rarely: the top-k value of a token's choice is no expert (BadChoiceRecord).
  m.report_bad_choice(n, 1, n);  // token, choice, value
  m.raise(rank, n, word);        // at a reachable rank: the flag at offset n of its block
  m.post(rank, n, word);         // the same for a word that stands for itself alone
  m.signal(rank, id, n, word);   // at an unreachable one: seen after all puts of the operation `id`
  // For the host, which has seen all that this thread's warp did once it sees the word.
  m.publish(host_word, word);

  // Bytes to a rank's block: stores where it is reachable, puts of operation `id` elsewhere.
  // Ahead of stage_encoded, one thread's: a row that the worker will stage encoded. Rows are staged
  // in the order they were fetched in, at most two are ahead, and every one that is staged has been
  // fetched.
  m.fetch(DispatchFormat::kBf16, row, 1);
  { m.stage(source, n) } -> std::same_as<Staged>;
  { m.stage_row(CombineFormat::kBf16, row, 1) } -> std::same_as<Staged>;
  // A warp's own: bytes that its lanes write, together, where `fill` is told.
  { m.stage_filled(n, fill) } -> std::same_as<Staged>;
  // A warp's rows, one behind another: each is begun, taken (as it is, or encoded as FP8), sent and
  // copied, and left, while the next rows_ahead() are begun already.
  { m.rows_ahead() } -> std::same_as<int>;
  m.begin_row(whole);
  { m.take_row(whole) } -> std::same_as<Row>;
  { m.take_encoded_row(DispatchFormat::kFp8, 1) } -> std::same_as<Row>;
  m.send_row(staged, rank, n);  // a part of it, to the rank's block at offset n
  m.copy_row(staged, bytes);    // to local memory
  m.leave_row();
  m.skip_row();     // counts as a row that was left, and is none
  m.drain_rows(4);  // all rows that were left, but the newest four, are where they go
  // The next number of a counter in the local block, for the warp: of work that is shared out as it
  // is done.
  { m.claim(counter) } -> std::same_as<std::uint32_t>;
  // The first n warps share the work; the others only meet them at its end.
  { m.stage_encoded(DispatchFormat::kBf16, row, 1, 1) } -> std::same_as<Staged>;
  { m.stage_sum(sum, CombineFormat::kBf16) } -> std::same_as<Staged>;
  m.send(staged, rank, id, n);      // all of it, to the rank's block at offset n
  m.write(source, n, rank, id, n);  // from scratch; bytes, rank, operation, offset
  // The same by a warp together, from any memory, at a reachable rank.
  m.write_together(source, n, rank, n);
  m.copy(staged, n, n, bytes);  // staged bytes [from, from + n) to local memory
  m.drain();                    // this warp's sends and copies are where they go
  m.count_message(rank);        // for reports
  m.weighted_sum(sum, bytes);   // to one BF16 row in local memory
  // A warp's, of BF16 rows; `next` is the sum that the warp makes after this one, or has no rows.
  m.sum_rows(sum, sum, bytes);
  m.sum_nested(nested, bytes);
  m.send_nested(nested, rank, n);  // to the rank's block at offset n; as a row that was sent
};

}  // namespace braid::machine
