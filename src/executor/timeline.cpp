#include "executor/timeline.hpp"

#include <algorithm>

#include "schedule/drawing.hpp"

namespace braid {

double Timeline::end_us() const {
  double end = 0;
  for (const TimelineSpan& span : spans) end = std::max(end, span.end_us);
  return end;
}

Timeline timeline(const Schedule& schedule, const predict::Played& played) {
  Timeline made;
  made.name = schedule.name;
  made.rank = played.last_rank;
  for (const Lane& lane : schedule.lanes) made.lanes.push_back(lane.name);
  for (int op = 0; op < played.num_operations; ++op) {
    const Operation& operation = schedule.operations[static_cast<std::size_t>(op)];
    const predict::Span& span = played.at(played.last_rank, op);
    made.spans.push_back({.name = describe(schedule, op),
                          .kind = to_string(operation.kind),
                          .lane = operation.lane,
                          .sms = operation.sms,
                          .round = operation.round,
                          .num_rounds = operation.num_rounds,
                          .micro_batch = operation.micro_batch,
                          .layer = operation.layer,
                          .start_us = span.start_us,
                          .end_us = span.end_us,
                          .waited_us = span.waited_us,
                          .color = schedule::fill(operation)});
  }
  return made;
}

}  // namespace braid
