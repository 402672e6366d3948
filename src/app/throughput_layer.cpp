#include "app/throughput_layer.hpp"

#include <chrono>
#include <cstring>

#include "executor/shared_part.hpp"

namespace braid::app {

using Clock = std::chrono::steady_clock;

ThroughputLayer::ThroughputLayer(Group& group, const CommunicationOptions& options,
                                 const LayerCase& layer)
    : group_(group),
      options_(options),
      layer_(layer),
      x_(layer.x_of(group.rank(), options.ranks)),
      exchange_(group, options, layer.shape, layer.max_tokens(options.ranks)),
      experts_(layer.experts_of(group.rank(), options.ranks)),
      output_(DType::kBFloat16, {x_.dim(0), x_.dim(1)}) {
  if (!layer.layer.shared) return;
  shared_.emplace(std::vector<ExpertWeights>{*layer.layer.shared});
  shared_out_ = Block(DType::kFloat32, {x_.dim(0), x_.dim(1)});
}

StepTimes ThroughputLayer::pass() {
  // A row that nobody writes is then not a number, instead of the last repeat's right one.
  std::memset(output_.as<void>(), 0xff, output_.tensor().num_bytes());
  group_.barrier();
  StepTimes times;
  const Clock::time_point start = Clock::now();
  StepTimer timer(times);
  routes_ = model::route(layer_.layer, x_.as<const std::uint16_t>(), x_.dim(0),
                         options_.resolved_workers());
  timer.add_to(&StepTimes::gate);
  exchange_.run({routes_, x_, output_.tensor(), experts_}, timer);
  if (shared_) add_shared();
  timer.add_to(&StepTimes::shared);
  times.total = std::chrono::duration<double, std::micro>(Clock::now() - start).count();
  return times;
}

void ThroughputLayer::add_shared() {
  if (x_.dim(0) == 0) return;
  shared_->run_dense(x_, shared_out_.as<float>(), options_.resolved_workers());
  executor::add_shared_part(output_.tensor(), shared_out_.tensor());
}

}  // namespace braid::app
