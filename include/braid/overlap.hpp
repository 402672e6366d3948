// The known methods of overlap, each a function that returns a Schedule (schedule.hpp). All of them
// validate what they return, and throw kInvalidArgument naming the option for what can't be.
//
// Where SM budgets are 0, a builder chooses: the whole device where nothing else runs, a published
// system's split where something does.
#pragma once

#include <array>
#include <string>
#include <vector>

#include "braid/schedule.hpp"

namespace braid {

// What a layer has beside its routed experts.
struct LayerParts {
  int device_sms = 0;
  bool attention = false;
  bool shared_expert = false;
  Reduce reduce = Reduce::kTokenRank;
};

// Attention, gate, shared expert, dispatch, experts, combine: one lane, one after another.
Schedule sequential(const LayerParts& parts);

// Per-expert overlap: a rank's experts in rounds, so that one round computes while others travel.
// Lanes: current, gemm, and for method 3 comm. D: the device's SMs, c: the small budget of a phase.
enum class PerExpertBudgets : std::uint8_t {
  kRtp,       // 2, 3: send c but in round 0, which has D; receive r0: D (method 3: D - c), else c
  kVariantB,  // the same, but method 3 receives round 0 on D / 2
};
struct PerExpertOptions {
  LayerParts parts;
  // 1: all sends first, then round by round receive and GEMM.
  // 2: round by round send, receive, GEMM.
  // 3: as 2 with receives on a lane of their own: the next send overlaps a receive.
  // 4: one dispatch for all, then GEMMs in rounds: only combine overlaps.
  // All: combine sends round r once its GEMM has ended, the last with D; one receive, with D. A
  // shared expert runs between the first send and the first receive; method 3: before both.
  int method = 1;
  int rounds = 2;  // G; divides a rank's experts. At least 2
  int send_sms = 16;
  int receive_sms = 16;
  // 0: D less the communication that runs beside them. Method 4 gives round 0 the whole device,
  // method 3 its last two rounds what no send needs any more.
  int up_gemm_sms = 0;
  int down_gemm_sms = 0;
  PerExpertBudgets budgets = PerExpertBudgets::kRtp;
};
Schedule per_expert_overlap(const PerExpertOptions& options);

// Single-batch overlap: the combine send starts beside the down GEMM, on comm_sms SMs of a lane of
// its own, and takes block_rows rows of an expert once the GEMM has signaled them; the shared
// expert runs between dispatch's send and receive. Sums at the token's rank.
struct SingleBatchOptions {
  LayerParts parts;
  int block_rows = 64;
  int comm_sms = 3;
};
Schedule single_batch_overlap(const SingleBatchOptions& options);

// Two-batch overlap: a batch is split in two micro-batches whose stages alternate on one lane.
enum class StepKind : std::uint8_t {
  kOperation,  // one operation
  kDispatchA,  // low latency: the send. High throughput: only what precedes the launch
  kDispatchB,  // low latency: the receive. High throughput: send and receive on lane comm
  kExperts,    // up GEMM, activation, down GEMM
  kCombineA,
  kCombineB,
  kYield,  // a stage ends here
};
struct ProgramStep {
  StepKind kind = StepKind::kOperation;
  std::string name{};
  OperationKind operation = OperationKind::kCustom;  // of kOperation
};
struct Program {
  std::string name;
  std::vector<ProgramStep> steps;  // of one layer
  int delta_stages = 0;            // how far micro-batch 0 runs ahead
  bool high_throughput = false;    // communication on a lane of its own, GEMMs leave it its SMs
};

// "deepseek-prefill", "deepseek-decode" (its last yield split, as since SGLang's PR 6711),
// "deepseek-decode-yield" (as before: a layer ends with a yield), "qwen3-prefill", "qwen3-decode".
const std::vector<std::string>& program_names();
// Throws kInvalidArgument listing the names.
Program find_program(const std::string& name);

// `layers` times the steps one behind another, cut at yields: without a yield at a layer's end its
// last stage and the next layer's first are one. An empty stage is refused; an empty last one, what
// a final yield leaves, dropped.
struct Stage {
  std::vector<ProgramStep> steps;
  std::vector<int> layers;  // of each step
};
std::vector<Stage> cut_stages(const Program& program, int layers);

struct TwoBatchOptions {
  std::array<Program, 2> programs{};  // of micro-batch 0 and 1: as many stages, the same mode
  // Micro-batch 0 runs this many stages ahead; -1: its program's.
  int delta_stages = -1;
  int layers = 1;
  int device_sms = 0;
  int comm_sms = 20;  // of communication that runs beside GEMMs
  // Per-expert overlap inside each micro-batch (low latency): all sends first, as its method 1.
  int rounds = 1;
  Reduce reduce = Reduce::kTokenRank;
};
Schedule two_batch_overlap(const TwoBatchOptions& options);

// The same steps for one whole batch: one lane, no overlap. What two-batch overlap is measured by.
Schedule sequential_program(const Program& program, const TwoBatchOptions& options);

// Which micro-batch's stage comes next: 0 or 1, 2 * num_stages of them.
std::vector<int> alternate_stages(int num_stages, int delta_stages);

}  // namespace braid
