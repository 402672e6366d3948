// The part of a layer in high throughput that the ranks do together. Rows by source are gathered by
// expert and summed before they go home; rows by expert are what the experts take and combine sums.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <vector>

#include "app/options.hpp"
#include "app/report.hpp"
#include "app/throughput_rows.hpp"
#include "braid/group.hpp"
#include "braid/high_throughput.hpp"
#include "expert/expert.hpp"
#include "model/router.hpp"

namespace braid::app {

// Adds the time since the last call to a step.
class StepTimer {
 public:
  explicit StepTimer(StepTimes& times) : times_(times) {}
  void add_to(double StepTimes::*step) {
    const auto now = std::chrono::steady_clock::now();
    times_.*step += std::chrono::duration<double, std::micro>(now - last_).count();
    last_ = now;
  }

 private:
  using Clock = std::chrono::steady_clock;
  StepTimes& times_;
  Clock::time_point last_ = Clock::now();
};

// One pass of this rank's tokens.
struct LayerPass {
  model::Routes& routes;
  Tensor x;       // [n, H] bf16
  Tensor output;  // [n, H] bf16: the routed experts' part
  ExpertFfn& experts;
};

class ThroughputExchange {
 public:
  // Collective. For max_tokens tokens on each rank.
  ThroughputExchange(Group& group, const CommunicationOptions& options, const LayerShape& shape,
                     int max_tokens);

  // Collective.
  void run(const LayerPass& pass, StepTimer& timer);
  std::vector<std::int64_t> tokens_per_expert() const;  // of the last pass
  OperationTraffic traffic() const;                     // of all passes

 private:
  LayerShape shape_;
  LayoutOptions layout_;
  HighThroughputBuffer buffer_;
  std::unique_ptr<ThroughputRows> rows_;
  Stream stream_ = Stream::cpu();  // last, so that it ends before the memory that it works on
};

}  // namespace braid::app
