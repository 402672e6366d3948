// A layer in low latency on one rank: its tokens through the operations of a schedule.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "app/layer_case.hpp"
#include "app/options.hpp"
#include "app/report.hpp"
#include "braid/executor.hpp"
#include "braid/group.hpp"

namespace braid::app {

// One pass of this rank's tokens.
struct ScheduledPass {
  StepTimes steps;                   // sums over the operations of a kind, and the whole
  std::vector<OperationTime> times;  // of each operation
  std::string output;                // BF16 [n, hidden], as bytes
};

class ScheduledLayer {
 public:
  // Collective. options: resolved.
  ScheduledLayer(Group& group, const RunOptions& options, const LayerCase& layer);
  ~ScheduledLayer();

  // Collective. With 2 micro-batches this rank's tokens are split as decode's are.
  ScheduledPass pass(const Schedule& schedule, int micro_batches);
  // Collective: whether the ranks' batches can be split.
  bool agree_on_two_batches() const;

  std::vector<std::int64_t> tokens_per_expert() const;  // of the last pass
  OperationTraffic traffic() const;                     // of all passes

 private:
  struct Parts;
  std::unique_ptr<Parts> parts_;
};

}  // namespace braid::app
