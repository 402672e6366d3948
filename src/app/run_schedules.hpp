// The schedules of a run.
#pragma once

#include "app/layer_case.hpp"
#include "app/options.hpp"
#include "braid/schedule.hpp"

namespace braid::app {

// With every default filled in: the schedule (of several rounds peo-1, else sequential), its
// rounds, and workers enough for it where none or no schedule were asked for. Throws
// kInvalidArgument for what can't run this layer.
RunOptions resolved(const RunOptions& options, const LayerCase& layer);

// Whether every schedule gives the bits of the one without overlap. Sums at the experts' rank are
// rounded once more for each round.
bool equals_sequential(const CommunicationOptions& options);

// What `options`, resolved, run, and what that is measured by.
struct RunSchedules {
  Schedule chosen, sequential;
  int micro_batches = 1;  // of `chosen`
  bool overlaps() const { return chosen.name != sequential.name; }
};
RunSchedules run_schedules(const RunOptions& options, const LayerCase& layer);

}  // namespace braid::app
