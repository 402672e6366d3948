// The part of a layer that the ranks do together: tokens to the experts, the experts, and home.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <vector>

#include "app/options.hpp"
#include "app/report.hpp"
#include "braid/group.hpp"
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

class LayerExchange {
 public:
  virtual ~LayerExchange() = default;
  // Collective.
  virtual void run(const LayerPass& pass, StepTimer& timer) = 0;
  virtual std::vector<std::int64_t> tokens_per_expert() const = 0;  // of the last pass
  virtual OperationTraffic traffic() const = 0;                     // of all passes
};

// Collective. That of the options' mode, for max_tokens tokens on each rank.
std::unique_ptr<LayerExchange> make_exchange(Group& group, const CommunicationOptions& options,
                                             const LayerShape& shape, int max_tokens);
std::unique_ptr<LayerExchange> make_throughput_exchange(Group& group,
                                                        const CommunicationOptions& options,
                                                        const LayerShape& shape, int max_tokens);

}  // namespace braid::app
