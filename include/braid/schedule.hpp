// Schedule: an overlap method as data. Operations, the lane that each runs on, how many SMs it may
// use, and what it waits for. Nothing here starts anything: the same schedule is run by an
// executor, played against a hardware profile to predict its time, and drawn.
//
// Operations of one lane run in the order in which they are listed; lanes run beside each other (a
// CUDA stream each; on the CPU a Stream each). What else orders them is an edge. Builders for the
// known methods are in overlap.hpp.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "braid/buffer.hpp"

namespace braid {

enum class OperationKind : std::uint8_t {
  kAttention,
  kGate,             // scores and top-k
  kDispatchSend,     // tokens leave for the ranks of a round's experts
  kDispatchReceive,  // ... and are placed in the experts' rows
  kUpGemm,           // gate and up projection of a round's experts
  kActivation,       // SiLU, multiply, quantize
  kDownGemm,
  kCombineSend,     // a round's rows leave for the tokens' owners
  kCombineReceive,  // all rows of a token are summed
  kSharedExpert,
  kCustom,  // anything else, by name
};
inline constexpr int kNumOperationKinds = 11;

// "attention", "gate", "dispatch_send", ...
const char* to_string(OperationKind kind) noexcept;

struct Operation {
  OperationKind kind = OperationKind::kCustom;
  std::string name{};  // kCustom: what it is; elsewhere the step of a program that it comes from
  int lane = 0;
  int sms = 0;  // its budget; 0: takes what is free and holds nothing

  // Round `round` of `num_rounds`: that part of each rank's local experts. Operations of one layer
  // may be cut differently: combine waits once for what was sent in several rounds.
  int round = 0;
  int num_rounds = 1;
  int micro_batch = 0;
  int layer = 0;
  int stage = 0;  // two-batch overlap's, within the micro-batch
};

enum class EdgeKind : std::uint8_t {
  kAfter,  // `to` starts when `from` has ended
  kTiles,  // `to` starts on a block of rows when `from` has signaled it; it spins in between
};

struct Edge {
  int from = 0;  // indices into operations
  int to = 0;
  EdgeKind kind = EdgeKind::kAfter;
};

struct Lane {
  std::string name;
  int sms = 0;  // most that an operation of this lane may take; 0: the device's
};

struct Schedule {
  std::string name;
  int device_sms = 0;  // SMs of the device that the budgets were made for; on the CPU, workers
  Reduce reduce = Reduce::kTokenRank;
  int block_rows = 0;  // rows behind one signal of a kTiles edge
  std::vector<Lane> lanes;
  std::vector<Operation> operations;  // in the order in which the host starts them
  std::vector<Edge> edges;
};

// "dispatch_send 1/4", or "shared_experts (micro-batch 1, layer 2)": names an operation for people.
std::string describe(const Schedule& schedule, int operation);

// Throws kInvalidArgument with one sentence for the first thing that is wrong:
// - a lane, an edge's end, a round or a budget that is out of range;
// - operations that wait for each other in a circle (the sentence has the circle);
// - an operation that needs another's result and isn't ordered behind it: a receive without its
//   send, a GEMM without its receive, a combine without its GEMM (of the same layer and
//   micro-batch, where that has any such operation; a receive always);
// - sends or receives of one operation whose rounds are not in order;
// - an operation over its lane's budget, operations that can run at once and together take more
//   than device_sms, or a kTiles edge whose two ends don't fit on the device together: the consumer
//   that spins could then starve the producer that it waits for;
// - a kTiles edge into a combine send that doesn't sum at the token's rank: sums at the experts'
//   rank need all of a token's rows, which stand in several blocks.
void validate(const Schedule& schedule);

// Indices of the operations in an order in which one host thread can start them: the listed order,
// except that an operation comes behind all that it waits for. Throws kInvalidArgument for a
// circle.
std::vector<int> start_order(const Schedule& schedule);

// A table for people: one line an operation, with what it waits for.
std::string to_text(const Schedule& schedule);

// A drawing, one SVG document: lanes from top to bottom, order from left to right, rounds and
// micro-batches by color, edges between lanes as lines.
std::string to_svg(const Schedule& schedule);

}  // namespace braid
