// What one rank does in a run: its tokens through gate, dispatch, its experts, combine and the
// shared expert, as often as asked.
#pragma once

#include "app/layer_case.hpp"
#include "app/options.hpp"
#include "app/rank_result.hpp"
#include "braid/group.hpp"

namespace braid::app {

// Collective. options: resolved (run_schedules.hpp). In low latency the layer's operations run as
// the schedule says, and then once more without overlap, for comparison.
RankResult run_layer_rank(Group& group, const RunOptions& options, const LayerCase& layer);

}  // namespace braid::app
