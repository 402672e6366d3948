#include <fmt/format.h>

#include <algorithm>
#include <iterator>

#include "braid/schedule.hpp"

namespace braid {

const char* to_string(OperationKind kind) noexcept {
  switch (kind) {
    case OperationKind::kAttention: return "attention";
    case OperationKind::kGate: return "gate";
    case OperationKind::kDispatchSend: return "dispatch_send";
    case OperationKind::kDispatchReceive: return "dispatch_receive";
    case OperationKind::kUpGemm: return "up_gemm";
    case OperationKind::kActivation: return "activation";
    case OperationKind::kDownGemm: return "down_gemm";
    case OperationKind::kCombineSend: return "combine_send";
    case OperationKind::kCombineReceive: return "combine_receive";
    case OperationKind::kSharedExpert: return "shared_expert";
    case OperationKind::kCustom: return "custom";
  }
  return "unknown";
}

std::string describe(const Schedule& schedule, int operation) {
  const Operation& op = schedule.operations[static_cast<std::size_t>(operation)];
  std::string text = op.kind == OperationKind::kCustom ? op.name : to_string(op.kind);
  if (op.num_rounds > 1) text += fmt::format(" {}/{}", op.round, op.num_rounds);
  std::string place;
  const auto same = [&](int Operation::*field) {
    return std::all_of(schedule.operations.begin(), schedule.operations.end(),
                       [&](const Operation& other) { return other.*field == op.*field; });
  };
  if (!same(&Operation::micro_batch)) place += fmt::format("micro-batch {}", op.micro_batch);
  if (!same(&Operation::layer)) {
    place += fmt::format("{}layer {}", place.empty() ? "" : ", ", op.layer);
  }
  return place.empty() ? text : fmt::format("{} ({})", text, place);
}

std::string to_text(const Schedule& schedule) {
  std::string text =
      fmt::format("{}: {} operations on {} lanes, {} SMs\n", schedule.name,
                  schedule.operations.size(), schedule.lanes.size(), schedule.device_sms);
  std::vector<std::string> names;
  std::size_t widest = 0, widest_lane = 0;
  for (std::size_t i = 0; i < schedule.operations.size(); ++i) {
    names.push_back(describe(schedule, static_cast<int>(i)));
    widest = std::max(widest, names.back().size());
  }
  for (const Lane& lane : schedule.lanes) widest_lane = std::max(widest_lane, lane.name.size());
  for (std::size_t i = 0; i < schedule.operations.size(); ++i) {
    const Operation& op = schedule.operations[i];
    std::string line = fmt::format(
        "{:>4}  {:<{}}  {:<{}}  {:>8}", i, schedule.lanes[static_cast<std::size_t>(op.lane)].name,
        widest_lane, names[i], widest, op.sms == 0 ? "any SMs" : fmt::format("{} SMs", op.sms));
    for (const Edge& edge : schedule.edges) {
      if (edge.to != static_cast<int>(i)) continue;
      line += fmt::format("  {} {}", edge.kind == EdgeKind::kAfter ? "after" : "by tiles of",
                          edge.from);
    }
    fmt::format_to(std::back_inserter(text), "{}\n", line);
  }
  return text;
}

}  // namespace braid
