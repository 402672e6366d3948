// Times one rank's operations where they run: graphs of one kind of operation, which all ranks
// launch together, and plain calls in a row.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <vector>

#include "braid/group.hpp"
#include "machine/recorder.hpp"

namespace braid::app {

// A budget of 0 is as many SMs as the rank has. Collective.
int sms_of(Group& group, int budget);

struct GpuTimings {
  int sets = 1;              // that operations take in turn
  int graph_operations = 0;  // of a graph
  int calls_in_a_row = 0;
  int repeat = 1;                      // that count, after kWarmReplays
  std::function<void()> after_replay;  // of each graph
};

// All members but the budget's are collective.
class GpuTimer {
 public:
  static constexpr int kWarmReplays = 5;
  using Operation = std::function<void(std::size_t set)>;

  // Throws kInvalidArgument for a stream without graphs.
  GpuTimer(Group& group, Stream& stream, GpuTimings timings);

  // Microseconds of one operation, replay by replay; sets in turn.
  std::vector<double> graph(const Operation& enqueue);
  // Microseconds on the device of a call in a row of them; each call's on the host goes to `host`.
  double row(std::vector<double>& host, const Operation& call);
  // As graph(), of kernels of so many blocks that do nothing.
  std::vector<double> launch_gap(int blocks);

 private:
  Group& group_;
  Stream& stream_;
  GpuTimings timings_;
  std::unique_ptr<detail::Recorder> recorder_;
  std::vector<std::shared_ptr<detail::Graph>> graphs_;  // until the end: dropping one may wait
};

}  // namespace braid::app
