// Which method, how many rounds and how many SMs are best, by prediction.
#pragma once

#include <functional>
#include <vector>

#include "app/predict.hpp"

namespace braid::app {

struct TuneOptions {
  PredictOptions base;  // its schedule, rounds and budgets are what is searched
  std::vector<int> tokens = {4, 8, 16, 32, 64, 128};
  // None: all but sequential.
  std::vector<std::string> schedules;
};

// One choice, predicted.
struct Tried {
  PredictOptions options;  // resolved
  double total_us = 0, sequential_us = 0, speedup = 0, hidden_fraction = 0;
  double bound_speedup = 0;
  // Of one layer. Two-batch overlap is held against a sequential layer with attention, the others
  // against one without: time saved compares, speedup doesn't.
  double saved_us() const { return sequential_us - total_us; }
};

struct Tuned {
  int tokens = 0;
  std::vector<Tried> best_of;  // each schedule's best, by time saved, the best first
  int num_tried = 0;
};

// Called before each batch size and each schedule of it: what was done, of how much.
using TuneProgress = std::function<void(int done, int all, const std::string& what)>;
// Throws what Predictor does; kInvalidArgument for no batch size, or for a schedule that can't be
// at all (rounds on one expert a rank: those are left out where others can).
std::vector<Tuned> tune(const TuneOptions& options, const TuneProgress& progress);

// Speedup of the best against the batch size, beside each batch size's bound: one SVG document.
std::string plot(const TuneOptions& options, const std::vector<Tuned>& tuned);

}  // namespace braid::app
