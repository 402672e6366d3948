// The programs of SGLang's two-batch overlap, as lists of steps.
#include <algorithm>

#include "base/check.hpp"
#include "braid/overlap.hpp"

namespace braid {
namespace {

const ProgramStep kYield{StepKind::kYield, "yield"};
const ProgramStep kCommPrepareAttn{StepKind::kOperation, "comm_prepare_attn"};
const ProgramStep kAttnPrepare{StepKind::kOperation, "attn.prepare", OperationKind::kAttention};
const ProgramStep kAttnCore{StepKind::kOperation, "attn.core", OperationKind::kAttention};
const ProgramStep kCommPrepareMlp{StepKind::kOperation, "comm_prepare_mlp"};
const ProgramStep kGate{StepKind::kOperation, "gate", OperationKind::kGate};
const ProgramStep kSelectExperts{StepKind::kOperation, "select_experts"};
const ProgramStep kDispatchA{StepKind::kDispatchA, "dispatch_a"};
const ProgramStep kDispatchB{StepKind::kDispatchB, "dispatch_b"};
const ProgramStep kExperts{StepKind::kExperts, "experts"};
const ProgramStep kCombineA{StepKind::kCombineA, "combine_a"};
const ProgramStep kCombineB{StepKind::kCombineB, "combine_b"};
const ProgramStep kShared{StepKind::kOperation, "shared_experts", OperationKind::kSharedExpert};
const ProgramStep kOutput{StepKind::kOperation, "output"};
const ProgramStep kPostprocess{StepKind::kOperation, "comm_postprocess_layer"};

const std::vector<Program>& programs() {
  static const std::vector<Program> all = {
      {"deepseek-prefill",
       {kCommPrepareAttn, kAttnPrepare, kAttnCore, kCommPrepareMlp, kGate, kSelectExperts,
        kDispatchA, kYield, kDispatchB, kExperts, kCombineA, kYield, kShared, kCombineB, kOutput,
        kPostprocess},
       0,
       true},
      {"deepseek-decode",
       {kCommPrepareAttn, kAttnPrepare, kYield, kAttnCore, kCommPrepareMlp, kGate, kSelectExperts,
        kYield, kDispatchA, kShared, kYield, kDispatchB, kExperts, kCombineA, kYield, kCombineB,
        kYield, kOutput, kPostprocess},
       2,
       false},
      {"deepseek-decode-yield",
       {kCommPrepareAttn, kAttnPrepare, kYield, kAttnCore, kCommPrepareMlp, kGate, kSelectExperts,
        kYield, kDispatchA, kShared, kYield, kDispatchB, kExperts, kCombineA, kYield, kCombineB,
        kOutput, kPostprocess, kYield},
       2,
       false},
      {"qwen3-prefill",
       {kCommPrepareAttn, kAttnPrepare, kAttnCore, kCommPrepareMlp, kGate, kSelectExperts,
        kDispatchA, kYield, kDispatchB, kExperts, kCombineA, kYield, kCombineB, kOutput,
        kPostprocess},
       0,
       true},
      {"qwen3-decode",
       {kCommPrepareAttn, kAttnPrepare, kYield, kAttnCore, kCommPrepareMlp, kGate, kSelectExperts,
        kYield, kDispatchA, kYield, kDispatchB, kExperts, kCombineA, kYield, kCombineB, kOutput,
        kPostprocess, kYield},
       2,
       false},
  };
  return all;
}

}  // namespace

const std::vector<std::string>& program_names() {
  static const std::vector<std::string> names = [] {
    std::vector<std::string> list;
    for (const Program& program : programs()) list.push_back(program.name);
    return list;
  }();
  return names;
}

Program find_program(const std::string& name) {
  for (const Program& program : programs()) {
    if (program.name == name) return program;
  }
  fail(ErrorCode::kInvalidArgument, "program is '{}', but must be one of {}", name,
       fmt::join(program_names(), ", "));
}

std::vector<Stage> cut_stages(const Program& program, int layers) {
  require(layers >= 1, "layers is {}, but must be at least 1", layers);
  std::vector<Stage> stages(1);
  for (int layer = 0; layer < layers; ++layer) {
    for (const ProgramStep& step : program.steps) {
      if (step.kind != StepKind::kYield) {
        stages.back().steps.push_back(step);
        stages.back().layers.push_back(layer);
        continue;
      }
      require(!stages.back().steps.empty(), "program {} has an empty stage: two yields in a row",
              program.name);
      stages.emplace_back();
    }
  }
  if (stages.back().steps.empty()) stages.pop_back();
  require(!stages.empty(), "program {} has no steps", program.name);
  return stages;
}

}  // namespace braid
