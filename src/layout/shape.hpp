// The numbers that every offset follows from, and the rows and messages that they give.
#pragma once

#include <cstdint>

#include "base/device.hpp"
#include "base/math.hpp"
#include "braid/format.hpp"
#include "codec/row.hpp"

namespace braid::layout {

inline constexpr std::int64_t kRowAlignment = 16;    // bulk copies move multiples of 16 bytes
inline constexpr std::int64_t kSlotAlignment = 128;  // a slot starts on a cache line of a GPU
inline constexpr std::int64_t kFlagLine = 64;        // flags of different writers don't share one
inline constexpr std::int64_t kRegionAlignment = 4096;  // registration of memory wants pages
inline constexpr int kMaxTopK = 32;
inline constexpr int kMostWordHidden = 7168;  // of rows as words: what a GPU's block sums at once

// A naming of a local expert by a token, as it travels in a message and stays in the handle.
struct Placement {
  std::uint32_t expert_choice = 0;  // local expert << 6 | choice (0 to 31) | kRepeat
  std::uint32_t row = 0;            // among the rows that this source sends to this expert
  float weight = 0.0F;              // top-k weight, 0 where none was given
  std::uint32_t reserved = 0;

  static constexpr std::uint32_t kRepeat = 32;  // the token named this expert before
  BRAID_HD constexpr int local_expert() const { return static_cast<int>(expert_choice >> 6); }
  BRAID_HD constexpr int choice() const { return static_cast<int>(expert_choice & 31U); }
  BRAID_HD constexpr bool repeat() const { return (expert_choice & kRepeat) != 0; }
  BRAID_HD static constexpr std::uint32_t pack(int local_expert, int choice, bool repeat) {
    return static_cast<std::uint32_t>(local_expert) << 6 | static_cast<std::uint32_t>(choice) |
           (repeat ? kRepeat : 0U);
  }
};
static_assert(sizeof(Placement) == 16);

// Follows the payload of a dispatch message; num_placements of Placement come next.
struct MessageHeader {
  std::uint32_t token = 0;  // index at the source
  std::uint32_t num_placements = 0;
  std::uint32_t source_tokens = 0;  // of this dispatch, at the source
  std::uint32_t reserved = 0;
};
static_assert(sizeof(MessageHeader) == 16);

// A dispatch message: data, scales (padded), header, placements. One contiguous put.
struct MessageShape {
  std::int64_t data_bytes = 0;
  std::int64_t scale_bytes = 0;  // unpadded
  std::int64_t scales_at = 0;
  std::int64_t header_at = 0;
  std::int64_t placements_at = 0;

  BRAID_HD static constexpr MessageShape of(DispatchFormat format, std::int64_t hidden) {
    MessageShape shape;
    shape.data_bytes = codec::dispatch_data_bytes(format, hidden);
    shape.scale_bytes = codec::dispatch_scale_bytes(format, hidden);
    shape.scales_at = round_up(shape.data_bytes, kRowAlignment);
    shape.header_at = shape.scales_at + round_up(shape.scale_bytes, kRowAlignment);
    shape.placements_at = shape.header_at + static_cast<std::int64_t>(sizeof(MessageHeader));
    return shape;
  }
  BRAID_HD constexpr std::int64_t payload_bytes() const { return header_at; }
  BRAID_HD constexpr std::int64_t bytes(std::int64_t num_placements) const {
    return placements_at + num_placements * static_cast<std::int64_t>(sizeof(Placement));
  }
};

struct BufferShape {
  int num_ranks = 1;
  int num_experts = 1;
  int max_tokens = 1;  // T
  int hidden = 8;
  int top_k = 1;
  int depth = 2;
  int max_rounds = 1;
  int handle_slots = 1;
  bool per_expert_copies = false;
  bool combine_regions = false;
  int few_tokens = 0;  // most tokens of a rank whose sums come home as words; at most T, and 0
                       // where H is more than kMostWordHidden
  DispatchFormat widest_dispatch = DispatchFormat::kBf16;

  BRAID_HD constexpr int num_local() const { return num_experts / num_ranks; }
  // Most copies of one token that one rank can get.
  BRAID_HD constexpr int copies_per_token() const {
    return per_expert_copies ? min_of(top_k, num_local()) : 1;
  }
  // Messages that one source can send to one rank in one operation.
  BRAID_HD constexpr std::int64_t slots_per_source() const {
    return static_cast<std::int64_t>(max_tokens) * copies_per_token();
  }
  // Rows of the expert-major output that one expert has.
  BRAID_HD constexpr std::int64_t row_capacity() const {
    return static_cast<std::int64_t>(num_ranks) * max_tokens;
  }
  // Block signals, [Le][blocks_of_expert]: the blocks that those rows could fill.
  BRAID_HD constexpr std::int64_t blocks_of_expert(int block_rows) const {
    return ceil_div(row_capacity(), std::int64_t{block_rows});
  }
  BRAID_HD constexpr std::int64_t block_signal(int expert, std::int64_t block,
                                               int block_rows) const {
    return expert * blocks_of_expert(block_rows) + block;
  }
  // The experts' output of one handle, BF16.
  BRAID_HD constexpr std::int64_t combine_region_bytes() const {
    return num_local() * row_capacity() * 2 * std::int64_t{hidden};
  }
  BRAID_HD constexpr std::int64_t message_stride() const {
    return round_up(MessageShape::of(widest_dispatch, hidden).bytes(top_k), kSlotAlignment);
  }
  // Sized for rows that all stay BF16 and, where H allows LogFMT, its group metadata.
  BRAID_HD constexpr std::int64_t combine_stride() const {
    const std::int64_t bf16 = codec::combine_row_max_bytes(CombineFormat::kBf16, hidden);
    const std::int64_t log = hidden % kScaleGroup == 0
                                 ? codec::combine_row_max_bytes(CombineFormat::kLogFmt10, hidden)
                                 : 0;
    return round_up(max_of(bf16, log), kSlotAlignment);
  }
  // A BF16 row as words that each carry two channels and the epoch.
  BRAID_HD constexpr std::int64_t word_row_stride() const {
    return round_up(std::int64_t{hidden} / 2 * 8, kSlotAlignment);
  }
  BRAID_HD constexpr std::int64_t word_slots() const {
    return static_cast<std::int64_t>(few_tokens) * top_k;
  }
  // Combine's slots are named by (token, choice).
  BRAID_HD constexpr std::int64_t combine_slots() const {
    return static_cast<std::int64_t>(max_tokens) * top_k;
  }
};

}  // namespace braid::layout
