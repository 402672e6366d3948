// HighThroughputBuffer: dispatch and combine for training and prefill, where a rank moves thousands
// of tokens and the link's bandwidth at few SMs is what counts. The ranks of one node.
//
// A row travels once to each rank that holds one of its token's experts, straight to its final
// place. Outputs are exactly as long as what was received, [N, H], ordered by source rank, then
// token. Combine adds the rows of a token, in float32, in ascending rank order, and rounds once;
// weighting and summing over the experts of one rank is the caller's, between the two.
//
//   ThroughputHandle handle = buffer.layout(topk_idx, {}, stream);  // where rows go and come from
//   const ReceivedCounts rows = buffer.received(handle);              // waits; sizes of the
//   outputs buffer.dispatch(handle, input, output, {}, stream); buffer.combine(handle, {y},
//   {combined}, {}, stream);
//
// A handle is good for any number of dispatches and combines of tensors that are routed alike:
// nothing is exchanged and the host waits for nothing. The gradient of a dispatch is a combine on
// its handle, that of a combine is a dispatch on its handle, and gradients of weights travel along.
//
// R ranks, E experts, Le = E/R local ones, T most tokens a rank may dispatch, H hidden size,
// k choices a token, n tokens of this rank, N rows that it receives: at most R*T.
//
// All ranks make the same calls on a buffer in the same order, with the same options, the same k
// and the same optional tensors given (token counts and contents differ freely; a rank may have
// none). Calls on one buffer come from one thread at a time, and its operations run in the order of
// the calls, across streams. What the host can see is checked before anything is sent. Failures,
// bad top-k values on CUDA, and what a program must do on CUDA: as in buffer.hpp. There rows and
// biases are at multiples of 16 bytes.
//
// Without host synchronization. Where received() was not called on a handle, the host does not know
// N, and outputs must have R*T rows. The first N are the same, bit for bit; of the tail, topk_idx
// is set to -1 and topk_weights to 0, and the rest is untouched.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <vector>

#include "braid/buffer.hpp"

namespace braid {

struct HighThroughputOptions {
  int num_experts = 0;  // E; divisible by R
  int max_tokens = 0;   // T; the same on every rank
  int hidden = 0;       // H; a multiple of 8, of 128 for FP8
  int top_k = 0;        // k; 1 to 32, at most E

  int depth = 1;  // D + 1 copies of the communication memory; a rank may be D operations ahead
  int handle_slots = 4;  // layouts whose handle lives at one time
  // The SM budget of an operation that does not say its own: worker threads on the CPU, thread
  // blocks of an SM each on CUDA. 0: as in BufferOptions.
  int workers = 0;
  // Reserve what dispatch_expanded and combine_expanded need.
  bool expanded = false;
  // The widest dispatch format, kBf16 or kFp8; kFp8 halves the memory of dispatch's rows.
  DispatchFormat widest_dispatch = DispatchFormat::kBf16;
};

struct LayoutOptions {
  int expert_alignment = 1;  // rows_per_expert, and the expanded form's, are rounded up to it
  int workers = 0;           // 0: the buffer's
};

// What a rank receives of a layout's tokens.
struct ReceivedCounts {
  std::int64_t num_rows = 0;                  // N
  std::vector<std::int64_t> rows_per_source;  // [R]; they stand in this order
  // [Le]: rows that name the expert, rounded up to expert_alignment. A row counts once for each of
  // its experts, also where its token names one twice.
  std::vector<std::int64_t> rows_per_expert;
};

struct DispatchRows {
  Tensor x;             // [n, H] bf16; or f8_e4m3, with format kFp8, as it is to arrive
  Tensor scales;        // [n, H/128] f32, of f8_e4m3 x
  Tensor topk_weights;  // [n, k] f32, optional
};

// All of one number of rows: at least N where received() was called, else at least R*T.
struct DispatchedRows {
  Tensor x;             // [rows, H] bf16, or f8_e4m3 for kFp8
  Tensor scales;        // kFp8: [rows, H/128] f32
  Tensor topk_idx;      // optional [rows, k] i32 or i64: local experts, -1 where one is elsewhere
  Tensor topk_weights;  // [rows, k] f32, where the input has them; 0 where the expert is elsewhere
};

struct DispatchRowsOptions {
  DispatchFormat format = DispatchFormat::kBf16;  // or kFp8: bf16 x is quantized here
  int workers = 0;                                // 0: the buffer's
  bool fill_tail = true;                          // false: the tail is untouched altogether
};

struct CombineRows {
  Tensor x;             // [rows, H] bf16, as dispatch's output; at least N, or R*T, rows
  Tensor topk_weights;  // [rows, k] f32, optional: summed like rows, never applied
};

struct CombinedRows {
  Tensor x;             // [n, H] bf16; a token without routes gets its biases' sum, or zeros
  Tensor topk_weights;  // [n, k] f32, where the input has them
};

// The expanded form, which contiguous grouped GEMMs take: rows by local expert, those of one expert
// by source rank, then token, and padded to expert_alignment. M rows: the sum of rows_per_expert,
// or where received() was not called R*T * min(k, Le) + Le * (expert_alignment - 1); or more.
struct ExpandedRows {
  Tensor x;             // [M, H] bf16, or f8_e4m3 for kFp8; padding untouched
  Tensor scales;        // kFp8: [M, H/128] f32
  Tensor row_experts;   // [M] i32: a row's local expert, -1 of padding and of what is past it
  Tensor topk_weights;  // [rows, k] f32, where the input has them: as of DispatchedRows, its tail
                        // untouched
};

struct CombineExpanded {
  Tensor x;             // [M, H] bf16, as ExpandedRows
  Tensor topk_weights;  // [rows, k] f32, as ExpandedRows: applied
};

struct CombineRowsOptions {
  std::array<Tensor, 2> biases;  // each optional, [n, H] bf16: added before the rows, in this order
  int workers = 0;               // 0: the buffer's
};

namespace detail {
struct ThroughputState;
struct ThroughputHandleState;
}  // namespace detail

// A layout's tables. Copies share them; when the last copy goes, the slot in the buffer is free
// again: a next layout may take it, ordered behind what is enqueued.
class ThroughputHandle {
 public:
  ThroughputHandle() = default;
  explicit ThroughputHandle(std::shared_ptr<detail::ThroughputHandleState> state)
      : state_(std::move(state)) {}
  bool valid() const { return state_ != nullptr; }
  detail::ThroughputHandleState& state() const { return *state_; }

 private:
  std::shared_ptr<detail::ThroughputHandleState> state_;
};

class HighThroughputBuffer {
 public:
  // What a buffer would take, region by region, to the byte. Throws what the constructor would.
  static MemoryPlan plan(const Topology& topology, const HighThroughputOptions& options);

  // Collective. Throws kInvalidArgument naming the option, also where ranks disagree, and for a
  // topology of several nodes.
  HighThroughputBuffer(Group& group, const HighThroughputOptions& options);

  const HighThroughputOptions& options() const;
  Group& group() const;

  // topk_idx: [n, k] i32 or i64, n <= T; -1: no route. It may be reused once the layout has run.
  ThroughputHandle layout(const Tensor& topk_idx, const LayoutOptions& options, Stream& stream);

  // Blocks until the layout has run; the first call on a handle does. Throws what the layout failed
  // with, kTimeout where the stream did not come to it within twice the group's timeout, and
  // kRefused for a layout that was captured into a graph.
  ReceivedCounts received(const ThroughputHandle& handle);

  void dispatch(const ThroughputHandle& handle, const DispatchRows& input,
                const DispatchedRows& output, const DispatchRowsOptions& options, Stream& stream);

  // The same without a copy: rows and scales stay where they arrive, in the buffer's communication
  // memory. Returns them; of `output` only topk_idx and topk_weights are given. Good until the
  // buffer's next operation begins on this rank. Throws kRefused on a stream that is being captured
  // into a graph, and once an operation of the buffer was: where rows arrive changes from operation
  // to operation, and the host no longer knows.
  DispatchedRows dispatch_in_place(const ThroughputHandle& handle, const DispatchRows& input,
                                   const DispatchedRows& output, const DispatchRowsOptions& options,
                                   Stream& stream);

  // x must not be in the buffer's communication memory.
  void combine(const ThroughputHandle& handle, const CombineRows& input, const CombinedRows& output,
               const CombineRowsOptions& options, Stream& stream);

  // Dispatch to the expanded form: a row stands once for each of its local experts. Throws
  // kInvalidArgument where the buffer was made without `expanded`.
  void dispatch_expanded(const ThroughputHandle& handle, const DispatchRows& input,
                         const ExpandedRows& output, const DispatchRowsOptions& options,
                         Stream& stream);
  // Combine from it: a rank sums a row's experts, weighted, in float32 in the order of its choices,
  // rounds to bf16, and then as combine; `output` has no weights. An expert that a token names
  // twice counts once per naming.
  void combine_expanded(const ThroughputHandle& handle, const CombineExpanded& input,
                        const CombinedRows& output, const CombineRowsOptions& options,
                        Stream& stream);

  // Since the buffer was made, as in buffer.hpp; a layout counts as dispatch.
  Traffic dispatch_traffic() const;
  Traffic combine_traffic() const;

 private:
  std::shared_ptr<detail::ThroughputState> state_;
};

}  // namespace braid
