#include "executor/timeline.hpp"

#include <algorithm>

#include "schedule/drawing.hpp"

namespace braid {

double Timeline::end_us() const {
  double end = 0;
  for (const TimelineSpan& span : spans) end = std::max(end, span.end_us);
  return end;
}

namespace {

// Without spans.
Timeline empty_timeline(const Schedule& schedule, int rank) {
  Timeline made;
  made.name = schedule.name;
  made.rank = rank;
  for (const Lane& lane : schedule.lanes) made.lanes.push_back(lane.name);
  return made;
}

TimelineSpan span_of(const Schedule& schedule, int op, const predict::Span& span) {
  const Operation& operation = schedule.operations[static_cast<std::size_t>(op)];
  return {.name = describe(schedule, op),
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
          .color = schedule::fill(operation)};
}

}  // namespace

Timeline timeline(const Schedule& schedule, const predict::Played& played) {
  Timeline made = empty_timeline(schedule, played.last_rank);
  for (int op = 0; op < played.num_operations; ++op) {
    made.spans.push_back(span_of(schedule, op, played.at(played.last_rank, op)));
  }
  return made;
}

Timeline timeline(const Schedule& schedule, const std::vector<OperationTime>& times, int rank) {
  Timeline made = empty_timeline(schedule, rank);
  for (std::size_t op = 0; op < times.size(); ++op) {
    made.spans.push_back(
        span_of(schedule, static_cast<int>(op), {times[op].start_us, times[op].end_us, 0}));
  }
  return made;
}

}  // namespace braid
