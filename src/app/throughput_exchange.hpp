// The part of a layer in high throughput that the ranks do together: rows come by source, the
// experts take them by expert, and a rank sums its experts' outputs of a row before the row goes
// home.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
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
  void run_experts(ExpertFfn& experts);
  void gather();

  const CommunicationOptions& options_;
  LayerShape shape_;
  int num_local_;
  HighThroughputBuffer buffer_;
  ThroughputRows rows_;
  std::int64_t capacity_ = 1;  // places of an expert
  std::vector<std::int32_t> counts_;
  std::vector<std::byte> x_, scales_;
  std::vector<std::uint16_t> outputs_;
  Stream stream_ = Stream::cpu();  // last, so that it ends before the memory that it works on
};

}  // namespace braid::app
