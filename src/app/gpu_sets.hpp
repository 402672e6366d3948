// The sets of inputs and outputs that a bench on GPUs takes in turn. What a first pass leaves in
// those that are checked is kept, and held against what every later pass and graph leaves.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "app/bench_case.hpp"
#include "app/gpu_timer.hpp"
#include "braid/group.hpp"

namespace braid::app {

// What an operation, or a graph of them, has written when it has run.
enum class Leaves { kRows, kTokens, kBoth };

// Set has received(), output(), poison_received() and poison_output().
template <class Set>
class GpuSets {
 public:
  // make(inputs) gives a set; it takes memory.
  template <class Make>
  GpuSets(Group& group, const BenchOptions& options, const BenchCase& bench, Make make)
      : group_(group) {
    for (int set = 0; set < bench.sets; ++set) {
      sets_.push_back(make(bench_inputs(options, bench, group.rank(), set)));
    }
    for (const int set : bench.checked_sets()) checked_.push_back(static_cast<std::size_t>(set));
  }

  std::size_t size() const { return sets_.size(); }
  Set& operator[](std::size_t set) const { return *sets_[set]; }
  const std::vector<std::size_t>& checked() const { return checked_; }

  // What the first pass left. Returns the outputs, one after another.
  std::string keep() {
    std::string all;
    for (const std::size_t set : checked_) {
      received_.push_back(sets_[set]->received());
      all += outputs_.emplace_back(sets_[set]->output());
    }
    return all;
  }
  const std::string& kept_rows(std::size_t checked_index) const { return received_[checked_index]; }

  // So that what is not written is seen; collective, since peers write rows too.
  void poison(Leaves leaves) {
    for (const std::size_t set : checked_) {
      if (leaves != Leaves::kTokens) sets_[set]->poison_received();
      if (leaves != Leaves::kRows) sets_[set]->poison_output();
    }
    group_.barrier();
  }

  // With the first pass, bit by bit.
  void compare(Leaves leaves) {
    for (std::size_t i = 0; i < checked_.size(); ++i) {
      const Set& set = *sets_[checked_[i]];
      if (leaves != Leaves::kTokens && set.received() != received_[i]) all_equal_ = false;
      if (leaves != Leaves::kRows && set.output() != outputs_[i]) all_equal_ = false;
    }
  }
  // Whether every comparison held.
  bool all_equal() const { return all_equal_; }

  // Microseconds of one operation, replay by replay; what it left is compared. Collective.
  std::vector<double> time_graph(GpuTimer& timer, Leaves leaves,
                                 const GpuTimer::Operation& enqueue) {
    poison(leaves);
    std::vector<double> times = timer.graph(enqueue);
    compare(leaves);
    group_.barrier();
    return times;
  }

 private:
  Group& group_;
  std::vector<std::unique_ptr<Set>> sets_;
  std::vector<std::size_t> checked_;
  std::vector<std::string> received_, outputs_;  // of the first pass, by place in checked_
  bool all_equal_ = true;
};

// Tells rank 0's caller how many replays and rows of calls have ended.
class ReplayCount {
 public:
  ReplayCount(const Group& group, const Progress& progress, int replays)
      : progress_(group.rank() == 0 ? &progress : nullptr), replays_(replays) {}
  void count() {
    ++done_;
    if (progress_ != nullptr && *progress_) (*progress_)(done_, replays_);
  }

 private:
  const Progress* progress_;
  int replays_;
  int done_ = 0;
};

}  // namespace braid::app
