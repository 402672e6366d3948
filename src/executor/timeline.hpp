// What ran when: the events of a run or a prediction, and the files that show them.
#pragma once

#include <string>
#include <vector>

#include "braid/executor.hpp"
#include "predict/engine.hpp"

namespace braid {

struct TimelineSpan {
  std::string name;  // describe()
  std::string kind;  // to_string(OperationKind)
  int lane = 0;
  int sms = 0;  // 0: what is free
  int round = 0;
  int num_rounds = 1;
  int micro_batch = 0;
  int layer = 0;
  double start_us = 0, end_us = 0;
  double waited_us = 0;
  std::string color;  // of CSS
};

// One schedule on one rank.
struct Timeline {
  std::string name;
  int rank = 0;
  std::vector<std::string> lanes;
  std::vector<TimelineSpan> spans;

  double end_us() const;
};

// The rank that ended last.
Timeline timeline(const Schedule& schedule, const predict::Played& played);
// A run's, on one rank; it does not tell how long an operation waited.
Timeline timeline(const Schedule& schedule, const std::vector<OperationTime>& times, int rank);

// Chrome's and Perfetto's JSON: a process a timeline, a thread a lane, complete events.
std::string to_chrome_trace(const std::vector<Timeline>& timelines);

// One page that needs nothing else: timelines one above the other on one scale, lanes in rows. The
// wheel zooms, dragging moves, and an operation under the pointer tells its numbers.
std::string to_html(const std::string& title, const std::vector<Timeline>& timelines);

// The same without the page, for documents: one SVG.
std::string to_svg(const std::string& title, const std::vector<Timeline>& timelines);

}  // namespace braid
