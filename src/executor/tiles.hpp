// Which combines take their rows by blocks, as the experts signal them.
#pragma once

#include <algorithm>

#include "braid/schedule.hpp"

namespace braid::executor {

// Whether a combine send of the operation's micro-batch and layer does.
inline bool has_tiles(const Schedule& schedule, const Operation& operation) {
  return std::any_of(schedule.edges.begin(), schedule.edges.end(), [&](const Edge& edge) {
    const Operation& to = schedule.operations[static_cast<std::size_t>(edge.to)];
    return edge.kind == EdgeKind::kTiles && to.kind == OperationKind::kCombineSend &&
           to.layer == operation.layer && to.micro_batch == operation.micro_batch;
  });
}

}  // namespace braid::executor
