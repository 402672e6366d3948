// Every byte offset of a rank's symmetric block and of its local state: the one map that host,
// kernels, planner and tests read.
//
// Flags are 64-bit words: the operation's epoch in the high half, a value (a count) in the low
// half, so a word is its own flag. A word is written by one rank only; words of different writers
// are on different lines. Nothing is cleared: an older epoch means "not yet". Flags and data never
// share bytes, since old data could look like a flag. Of a rank that has few tokens the sums come
// home as nothing but words, two channels each: twice the bytes, but nobody waits for a row to
// arrive before its flag may be raised, nor for the flag before the row is read.
#pragma once

#include <cstdint>

#include "layout/shape.hpp"

namespace braid::layout {

using Word = std::uint64_t;

BRAID_HD constexpr Word make_word(std::uint32_t epoch, std::uint32_t value) {
  return static_cast<Word>(epoch) << 32 | value;
}
BRAID_HD constexpr std::uint32_t epoch_of(Word word) {
  return static_cast<std::uint32_t>(word >> 32);
}
BRAID_HD constexpr std::uint32_t value_of(Word word) { return static_cast<std::uint32_t>(word); }

inline constexpr std::int64_t kWordBytes = sizeof(Word);

// A region: bytes that belong together, and where the next one may start.
struct Region {
  std::int64_t offset = 0;
  std::int64_t bytes = 0;
  BRAID_HD constexpr std::int64_t end() const { return offset + bytes; }
};

enum class Signal : int { kDispatch = 0, kCombine = 1 };
inline constexpr int kNumSignals = 2;

// One rank's abort record: the first word is raised by whoever saw the failure.
struct AbortRecord {
  Word raised = 0;             // 0, or 1 + the reporting rank
  std::int32_t culprit = -1;   // the rank that did not answer
  std::int32_t operation = 0;  // as in machine::WaitTag
  std::int32_t round = 0;
  std::uint32_t epoch = 0;
  std::int32_t peer_ended = 0;  // 1: the culprit's process or thread has ended
  std::int32_t expert = -1;     // as in machine::WaitTag
  std::int32_t block = -1;
};

// Where failures are reported: the same in every kind of buffer's block, so that whoever waits
// needs to know no more of it.
struct ControlMap {
  Region region;
  int num_ranks = 1;

  BRAID_HD static constexpr std::int64_t bytes(std::int64_t num_ranks) {
    return num_ranks * kFlagLine;
  }
  // `reporter` writes its own line of every peer's control region.
  BRAID_HD constexpr std::int64_t abort_record(int reporter) const {
    return region.offset + reporter * kFlagLine;
  }
};

// The symmetric block. Region by region: control, then for flags and data D depths each.
struct BufferMap {
  BufferShape shape;
  Region control, received, notices, arrived, combine_arrived, signals, word_rows, data;
  std::int64_t notice_stride = 0;   // one source's words: [Le] rows, [G] messages
  std::int64_t arrived_stride = 0;  // one source's words, one a slot
  std::int64_t signal_stride = 0;   // one source's words: [2 kinds][G]
  std::int64_t slots_per_source = 0, message_stride = 0, combine_stride = 0;  // as in the shape
  std::int64_t dispatch_bytes = 0, combine_bytes = 0;  // what each needs of a depth's data
  std::int64_t depth_bytes = 0;
  std::int64_t total_bytes = 0;

  BRAID_HD static constexpr BufferMap of(const BufferShape& shape) {
    BufferMap map;
    map.shape = shape;
    const std::int64_t ranks = shape.num_ranks;
    const std::int64_t depth = shape.depth;
    std::int64_t at = 0;
    const auto place = [&at](std::int64_t bytes) {
      const Region region{at, bytes};
      at = round_up(at + bytes, kRegionAlignment);
      return region;
    };
    map.control = place(ControlMap::bytes(ranks));
    map.received = place(depth * ranks * kFlagLine);
    map.notice_stride = round_up((shape.num_local() + shape.max_rounds) * kWordBytes, kFlagLine);
    map.notices = place(depth * ranks * map.notice_stride);
    map.arrived_stride = round_up(shape.slots_per_source() * kWordBytes, kFlagLine);
    map.arrived = place(depth * ranks * map.arrived_stride);
    map.combine_arrived = place(depth * shape.combine_slots() * kWordBytes);
    map.signal_stride = round_up(kNumSignals * shape.max_rounds * kWordBytes, kFlagLine);
    map.signals = place(depth * ranks * map.signal_stride);
    map.word_rows = place(depth * shape.word_slots() * shape.word_row_stride());
    map.slots_per_source = shape.slots_per_source();
    map.message_stride = shape.message_stride();
    map.combine_stride = shape.combine_stride();
    map.dispatch_bytes = ranks * map.slots_per_source * map.message_stride;
    map.combine_bytes = shape.combine_slots() * map.combine_stride;
    map.depth_bytes = round_up(max_of(map.dispatch_bytes, map.combine_bytes), kRegionAlignment);
    map.data = place(depth * map.depth_bytes);
    map.total_bytes = at;
    return map;
  }

  BRAID_HD constexpr ControlMap control_map() const { return {control, shape.num_ranks}; }
  BRAID_HD constexpr std::int64_t abort_record(int reporter) const {
    return control_map().abort_record(reporter);
  }
  // Raised by `source` at this rank's senders' side: it has received what was in this depth.
  BRAID_HD constexpr std::int64_t received_flag(int depth_idx, int source) const {
    return received.offset + (std::int64_t{depth_idx} * shape.num_ranks + source) * kFlagLine;
  }
  BRAID_HD constexpr std::int64_t count_word(int depth_idx, int source, int local_expert) const {
    return notices.offset + (std::int64_t{depth_idx} * shape.num_ranks + source) * notice_stride +
           local_expert * kWordBytes;
  }
  BRAID_HD constexpr std::int64_t messages_word(int depth_idx, int source, int round) const {
    return count_word(depth_idx, source, shape.num_local() + round);
  }
  BRAID_HD constexpr std::int64_t arrived_flag(int depth_idx, int source, std::int64_t slot) const {
    return arrived.offset + (std::int64_t{depth_idx} * shape.num_ranks + source) * arrived_stride +
           slot * kWordBytes;
  }
  BRAID_HD constexpr std::int64_t combine_flag(int depth_idx, std::int64_t slot) const {
    return combine_arrived.offset + (depth_idx * shape.combine_slots() + slot) * kWordBytes;
  }
  BRAID_HD constexpr std::int64_t signal_flag(Signal signal, int depth_idx, int source,
                                              int round) const {
    return signals.offset + (std::int64_t{depth_idx} * shape.num_ranks + source) * signal_stride +
           (static_cast<int>(signal) * shape.max_rounds + round) * kWordBytes;
  }
  // Instead of combine_row, where the home has few tokens.
  BRAID_HD constexpr std::int64_t word_row(int depth_idx, std::int64_t slot) const {
    return word_rows.offset + (depth_idx * shape.word_slots() + slot) * shape.word_row_stride();
  }
  BRAID_HD constexpr std::int64_t message(int depth_idx, int source, std::int64_t slot) const {
    return data.offset + depth_idx * depth_bytes +
           (source * slots_per_source + slot) * message_stride;
  }
  BRAID_HD constexpr std::int64_t combine_row(int depth_idx, std::int64_t slot) const {
    return data.offset + depth_idx * depth_bytes + slot * combine_stride;
  }
};

static_assert(sizeof(AbortRecord) <= kFlagLine);

}  // namespace braid::layout
