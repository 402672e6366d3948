// What a role is told: one struct end to end, by value to a kernel.
#pragma once

#include <cstddef>
#include <cstdint>

#include "layout/local.hpp"
#include "layout/map.hpp"
#include "layout/routes.hpp"
#include "layout/throughput.hpp"
#include "machine/machine.hpp"

namespace braid::protocol {

struct OperationArgs {
  layout::BufferMap map;
  layout::LocalMap local_map;
  std::byte* local = nullptr;  // the local block (layout/local.hpp)
  int handle_slot = 0;
  machine::TimeoutPolicy policy = machine::TimeoutPolicy::kFail;
};

struct DispatchArgs {
  OperationArgs op;
  layout::RouteRules rules;  // experts, rounds and fan-out of this dispatch
  layout::TopK topk;
  DispatchFormat format = DispatchFormat::kFp8;
  ScaleLayout scale_layout = ScaleLayout::kRowMajor;  // of out_scales
  const std::uint16_t* x = nullptr;                   // [n, H] bf16
  const float* weights = nullptr;                     // [n, k], or none

  std::byte* out_x = nullptr;              // [Le, R*T, H]
  std::byte* out_scales = nullptr;         // layout::ScaleShape
  std::int32_t* out_counts = nullptr;      // [Le]
  std::int64_t* received_total = nullptr;  // [Le], or none
  std::int64_t* waited_ns = nullptr;       // [R], or none
};

struct CombineArgs {
  OperationArgs op;
  ExpertMap experts;  // with combine's number of rounds
  layout::TopK topk;  // of this rank's tokens, as dispatched
  CombineFormat format = CombineFormat::kBf16;
  bool at_expert_rank = false;
  bool rows_of_one_round = false;
  int block_rows = 64;
  const std::int32_t* signals = nullptr;  // [Le, blocks_of_expert], or none
  std::int32_t signal_threshold = 0;
  const std::uint16_t* x = nullptr;   // [Le or Le/G, R*T, H] bf16
  const float* weights = nullptr;     // [n, k]; not read at the expert rank
  std::uint16_t* out = nullptr;       // [n, H] bf16
  std::int64_t* waited_ns = nullptr;  // [R], or none

  // Whether the sums for a rank with so many tokens go home as words, where it is reachable.
  BRAID_HD constexpr bool as_words(std::uint32_t num_tokens) const {
    return at_expert_rank && format == CombineFormat::kBf16 &&
           num_tokens <= static_cast<std::uint32_t>(op.map.shape.few_tokens);
  }
};

// High throughput: what its three operations have in common.
struct ThroughputArgs {
  layout::ThroughputMap map;
  layout::ThroughputLocalMap local_map;
  std::byte* local = nullptr;  // the local block
  int handle_slot = 0;
};

struct LayoutArgs {
  ThroughputArgs op;
  ExpertMap experts;
  layout::TopK topk;
  std::byte* record = nullptr;  // the handle slot's, of layout::ReceivedMap
  int expert_alignment = 1;     // of the expanded form
  std::uint64_t number = 0;     // of this layout, for the host; not 0
};

struct RowsDispatchArgs {
  ThroughputArgs op;
  std::int64_t num_tokens = 0;
  int k = 1;
  DispatchFormat format = DispatchFormat::kBf16;  // as the rows travel
  const std::byte* x = nullptr;    // [n, H] bf16, or codes where they are given encoded
  const float* scales = nullptr;   // [n, H/128] of given codes, else none
  const float* weights = nullptr;  // [n, k], or none

  bool in_region = false;           // rows stay where they arrive
  std::byte* out_x = nullptr;       // [num_rows, H]
  std::byte* out_scales = nullptr;  // [num_rows, H/128]
  void* out_topk_idx = nullptr;     // [num_rows, k], or none
  bool is_int64 = false;            // of out_topk_idx
  float* out_weights = nullptr;     // [num_rows, k], or none
  std::int64_t num_rows = 0;        // of the outputs; those past the received ones are the tail
  bool fill_tail = true;
  // The expanded form: outputs stand by local expert, but for out_weights.
  bool expanded = false;
  std::int32_t* out_experts = nullptr;  // [num_rows]: a row's local expert, -1 of padding and tail
};

struct RowsCombineArgs {
  ThroughputArgs op;
  std::int64_t num_tokens = 0;
  int k = 1;
  const std::uint16_t* x = nullptr;                                       // [rows, H] bf16
  const float* weights = nullptr;                                         // [rows, k], or none
  const std::uint16_t* biases[layout::kMostBiases] = {nullptr, nullptr};  // [n, H] bf16
  int num_biases = 0;
  std::uint16_t* out = nullptr;  // [n, H] bf16
  float* out_weights = nullptr;  // [n, k], or none
  // x stands by local expert, and a row's are summed with `weights` here first.
  bool expanded = false;
};

}  // namespace braid::protocol
