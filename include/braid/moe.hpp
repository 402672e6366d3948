// A Mixture-of-Experts layer's communication as operations of a schedule: what run() of
// executor.hpp is given for dispatch and combine, and what a schedule asks of a Buffer.
//
// Values in the State of a micro-batch in a layer, by name:
//   "x"       Tensor [n, H] bf16: the layer's input. From ExecutorOptions::prepare in the first
//             layer; afterwards what the layer before handed on.
//   "memory"  MoeMemory, from ExecutorOptions::prepare
//   "handle"  Handle of its dispatch, from dispatch_send's first round to combine_receive
//   "shared"  Tensor [n, H] f32, optional: the shared expert's part, from whoever computes it; the
//             schedule orders that before the layer's end
//
// The gate writes topk_idx and topk_weights of the memory; up GEMM, activation and down GEMM take
// `received` and write `rows`, each the experts of its round. These are the user's to bind.
//
// Two-batch overlap. All ranks run the same schedule, also where a micro-batch of theirs is empty:
// then x has no rows, and every operation is called all the same.
#pragma once

#include "braid/buffer.hpp"
#include "braid/executor.hpp"
#include "braid/two_batch.hpp"

namespace braid {

// Le, R, T, H, k as in buffer.hpp; n tokens of this rank. Alive until the run has ended. Layers of
// one micro-batch may share all of it but `output`, which is the next layer's x.
struct MoeMemory {
  Tensor topk_idx;      // [n, k] i32 or i64
  Tensor topk_weights;  // [n, k] f32
  DispatchOutput received;
  Tensor rows;    // [Le, R*T, H] bf16
  Tensor output;  // [n, H] bf16
  // Where a kTiles edge leads to combine_send: [Le, ceil(R*T / Schedule::block_rows)] i32, see
  // "Block signals" in operations.hpp. On the CPU bind_moe zeroes them; down GEMM adds.
  Tensor block_signals = {};
};

struct MoeOptions {
  // What the schedule says is taken from it: rounds, budgets, where rows are summed, block_rows.
  DispatchOptions dispatch;
  // signal_threshold: what a block's signal comes to; 0: 1.
  CombineOptions combine;
};

// Binds dispatch_send, dispatch_receive, combine_send, combine_receive, and the step "output" of
// programs.
//
// On the CPU the first round of a dispatch_send waits for the gate, since the buffer looks at
// topk_idx. combine_receive, or where the micro-batch's layer has it the step "output", ends the
// layer: it adds "shared", in float32, rounded once, and hands "x" on. On CUDA it refuses "shared":
// bind the step "output" there, which then pops "x" and sets the next layer's "x" itself.
//
// A run that fails ends the buffer's group: waits of its operations end, and the other ranks hear
// of it (kPeerFailed). Build a new group.
void bind_moe(Bindings& bindings, const Buffer& buffer, const MoeOptions& options);

// What a schedule asks of a buffer: BufferOptions of the same names, at least.
struct BufferNeeds {
  int depth = 1;
  int max_rounds = 1;
  int handle_slots = 1;
};
BufferNeeds buffer_needs(const Schedule& schedule);

// Collective: whether all ranks overlap two batches (agree_on_two_batches). Where not, all run the
// sequential program.
bool agree_on_two_batches(Group& group, const TwoBatchWish& wish);

}  // namespace braid
