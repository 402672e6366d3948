// What dispatch and combine of a Buffer take: tensors and options. R, E, Le, T, H, k, G as there.
//
// Block signals. Where CombineInput::block_signals is given, combine_send may run beside the GEMM
// that makes its rows (or whatever does): it reads rows [b * block_rows, (b + 1) * block_rows) of
// local expert e, as many as were counted, once the signal at [e, b] equals signal_threshold. The
// producer adds to a signal after the rows are written, with release order (at device scope on
// CUDA): from one stream or thread, or from many, as long as the sum comes to the threshold. The
// caller zeroes the signals before the producer and the send are enqueued. An expert without rows
// is not waited for. A block that is not signaled within the group's timeout fails the operation;
// the sentence names rank, round, expert and block, and what was expected and seen.
//
// A send that waits keeps its workers: the producer must be able to run beside it. On the CPU it is
// on another Stream or thread. On CUDA it is on another stream, and the send's SMs and the
// producer's together are at most the device's, or, where ranks share one, the rank's part of it.
#pragma once

#include <cstdint>

#include "braid/format.hpp"
#include "braid/tensor.hpp"

namespace braid {

// What one copy of a token on the wire is for.
enum class FanOut : std::uint8_t {
  kAuto,       // per_rank: never more bytes, and one row less to write for each shared rank
  kPerExpert,  // one copy for each expert that the token names
  kPerRank,    // one copy for each rank; the receiver places it into each of its experts
};

// Where a token's rows are summed.
enum class Reduce : std::uint8_t {
  kTokenRank,   // at home, one row a route, in fixed top-k order in float32: bit-equal for every
                // fan-out, round count and schedule
  kExpertRank,  // first at the experts' rank, one row a (rank, round): fewer bytes, one more BF16
                // rounding; bit-equal at an equal number of rounds. Needs the weights in dispatch
};

const char* to_string(FanOut fan_out) noexcept;  // "auto", "per_expert", "per_rank"
const char* to_string(Reduce reduce) noexcept;   // "token_rank", "expert_rank"
FanOut parse_fan_out(const char* text);          // throws kInvalidArgument listing what there is
Reduce parse_reduce(const char* text);

struct DispatchInput {
  Tensor x;         // [n, H] bf16, n <= T
  Tensor topk_idx;  // [n, k] i32 or i64; -1: no route. Kept by the handle: alive until combine ends
  Tensor topk_weights;  // [n, k] f32, optional; needed where combine reduces at the expert rank
};

struct DispatchOutput {
  Tensor x;  // [Le, R*T, H] bf16, or f8_e4m3 for the FP8 formats; rows past the count untouched
  Tensor scales;  // FP8: [Le, R*T, words], of H/128 f32 or (UE8M0) ceil(H/512) i32; [Le, words,
                  // R*T] where scale_layout is kColumnMajor; not given for BF16
  Tensor counts;  // [Le] i32, written when the expert's round was received
  Tensor received_total;  // optional [Le] i64: += counts; one operation in flight may have it
  Tensor waited_ns;       // optional [R] i64: += nanoseconds spent waiting for each source rank
};

struct DispatchOptions {
  DispatchFormat format = DispatchFormat::kFp8;
  FanOut fan_out = FanOut::kAuto;
  ScaleLayout scale_layout = ScaleLayout::kRowMajor;  // of the FP8 formats' scales in the output
  int num_rounds = 1;                                 // G; divides Le
  int send_workers = 0;                               // the SM budget of a send; 0: the buffer's
  int receive_workers = 0;
};

struct CombineInput {
  // [Le, R*T, H] bf16, laid out as dispatch's output; or with rows_of_one_round set, [Le/G, R*T, H]
  // for each round: then each combine_send takes its round's rows from here. Not given, without
  // rows_of_one_round: the rows are those of the handle's combine_region().
  Tensor x;
  Tensor topk_weights;  // [n, k] f32; ignored where they travelled with dispatch (kExpertRank)
  // Optional [Le, ceil(R*T / block_rows)] i32, see "Block signals" above; kTokenRank.
  Tensor block_signals = {};
};

struct CombineOutput {
  Tensor x;          // [n, H] bf16; a token without any route gets zeros
  Tensor waited_ns;  // optional [R] i64, as in dispatch
};

struct CombineOptions {
  CombineFormat format = CombineFormat::kBf16;
  Reduce reduce = Reduce::kTokenRank;
  int num_rounds = 1;  // G; may differ from dispatch's
  bool rows_of_one_round = false;
  int block_rows = 64;       // kTokenRank: rows of the (expert, row block) units of a send
  int signal_threshold = 0;  // with block_signals, and only then: at least 1
  int send_workers = 0;
  int receive_workers = 0;
};

}  // namespace braid
