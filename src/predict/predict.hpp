// Prediction: how long a layer takes with a schedule, and what overlap gave.
#pragma once

#include <vector>

#include "predict/engine.hpp"

namespace braid::predict {

struct Question {
  LayerCase layer;
  Schedule schedule;             // valid
  std::vector<Traffic> traffic;  // of each of its micro-batches
  Schedule sequential;           // the same work without overlap, of one micro-batch
  std::vector<Traffic> whole;    // of that one
  int layers = 1;                // of the schedule; times are a layer's
};

struct Prediction {
  // Microseconds of a layer, until its last rank has ended.
  double total_us = 0;
  // Of that rank: while at least one operation of the kind ran, send and receive together.
  double dispatch_us = 0, experts_us = 0, combine_us = 0;
  double sequential_us = 0;
  // One dispatch and one combine with the device to themselves, all ranks starting at once.
  double dispatch_alone_us = 0, combine_alone_us = 0;
  double compute_alone_us = 0;  // everything but communication, one after another
  // Communication that no longer lengthens the layer, of all that lengthens the sequential one.
  double hidden_fraction = 0;
  double speedup = 0;  // over sequential
  // No schedule whose experts wait for dispatch is faster than the longest of: all compute; all
  // bytes; the gate, a dispatch without bytes, the routed experts, and what a combine without bytes
  // takes from the last byte on.
  double bound_us = 0;
  double bound_speedup = 0;
  Played played;  // of the schedule
  Played sequential_played;
};

Prediction predict(const Question& question);

}  // namespace braid::predict
