// A layer in high throughput on one rank: its tokens through gate, dispatch, its experts, combine
// and the shared expert.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "app/block.hpp"
#include "app/layer_case.hpp"
#include "app/throughput_exchange.hpp"

namespace braid::app {

class ThroughputLayer {
 public:
  // Collective.
  ThroughputLayer(Group& group, const CommunicationOptions& options, const LayerCase& layer);

  // Collective. One pass of this rank's tokens.
  StepTimes pass();

  std::string output() const { return {output_.as<const char>(), output_.tensor().num_bytes()}; }
  std::vector<std::int64_t> tokens_per_expert() const { return exchange_.tokens_per_expert(); }
  OperationTraffic traffic() const { return exchange_.traffic(); }

 private:
  void add_shared();

  Group& group_;
  const CommunicationOptions& options_;
  const LayerCase& layer_;
  Tensor x_;
  ThroughputExchange exchange_;
  ExpertFfn experts_;
  std::optional<ExpertFfn> shared_;
  model::Routes routes_;
  Block output_, shared_out_;
};

}  // namespace braid::app
