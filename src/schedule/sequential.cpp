#include "schedule/builder.hpp"

namespace braid {

Schedule sequential(const LayerParts& parts) {
  schedule::Builder builder("sequential", parts, {{"current"}});
  builder.add_front(parts);
  if (parts.shared_expert) builder.add(OperationKind::kSharedExpert);
  for (const OperationKind kind :
       {OperationKind::kDispatchSend, OperationKind::kDispatchReceive, OperationKind::kUpGemm,
        OperationKind::kActivation, OperationKind::kDownGemm, OperationKind::kCombineSend,
        OperationKind::kCombineReceive}) {
    builder.add(kind);
  }
  return builder.finish();
}

Schedule sequential_program(const Program& program, const TwoBatchOptions& options) {
  using Kind = OperationKind;
  schedule::Builder builder(
      "sequential", {.device_sms = options.device_sms, .reduce = options.reduce}, {{"current"}});
  int layer = 0;
  const auto add = [&](const ProgramStep& step, std::initializer_list<Kind> kinds) {
    for (const Kind kind : kinds) {
      builder.add({.kind = kind, .name = step.name, .sms = builder.device(), .layer = layer});
    }
  };
  const auto communicate = [&](const ProgramStep& step, Kind send, Kind receive) {
    const bool first = step.kind == StepKind::kDispatchA || step.kind == StepKind::kCombineA;
    if (!program.high_throughput) return add(step, {first ? send : receive});
    if (first) return add(step, {Kind::kCustom});
    add(step, {send, receive});
  };
  for (; layer < options.layers; ++layer) {
    for (const ProgramStep& step : program.steps) {
      switch (step.kind) {
        case StepKind::kOperation: add(step, {step.operation}); break;
        case StepKind::kDispatchA:
        case StepKind::kDispatchB:
          communicate(step, Kind::kDispatchSend, Kind::kDispatchReceive);
          break;
        case StepKind::kExperts:
          add(step, {Kind::kUpGemm, Kind::kActivation, Kind::kDownGemm});
          break;
        case StepKind::kCombineA:
        case StepKind::kCombineB:
          communicate(step, Kind::kCombineSend, Kind::kCombineReceive);
          break;
        case StepKind::kYield: break;
      }
    }
  }
  return builder.finish();
}

}  // namespace braid
