// What drawings of schedules and of timelines share: a hue a kind of work, lighter for later
// rounds, a border a micro-batch, and text in SVG.
#pragma once

#include <fmt/format.h>

#include <string>

#include "braid/schedule.hpp"

namespace braid::schedule {

inline std::string escaped(const std::string& text) {
  std::string safe;
  for (const char c : text) {
    if (c == '<') {
      safe += "&lt;";
    } else if (c == '&') {
      safe += "&amp;";
    } else {
      safe += c;
    }
  }
  return safe;
}

inline int hue(OperationKind kind) {
  switch (kind) {
    case OperationKind::kDispatchSend: return 210;
    case OperationKind::kDispatchReceive: return 190;
    case OperationKind::kCombineSend: return 285;
    case OperationKind::kCombineReceive: return 320;
    case OperationKind::kUpGemm: return 95;
    case OperationKind::kActivation: return 60;
    case OperationKind::kDownGemm: return 130;
    case OperationKind::kSharedExpert: return 30;
    case OperationKind::kAttention: return 0;
    default: return 45;
  }
}

inline std::string fill(const Operation& op) {
  const int lightness = 50 + (op.num_rounds > 1 ? 28 * op.round / (op.num_rounds - 1) : 12);
  return fmt::format("hsl({},60%,{}%)", hue(op.kind), lightness);
}

inline const char* border(int micro_batch) { return micro_batch == 0 ? "#333" : "#d33"; }

}  // namespace braid::schedule
