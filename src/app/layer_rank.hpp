// What one rank does in a run: its tokens through gate, dispatch, its experts, combine and the
// shared expert, as often as asked.
#pragma once

#include "app/layer_case.hpp"
#include "app/options.hpp"
#include "app/rank_result.hpp"
#include "braid/group.hpp"

namespace braid::app {

// Collective. The ranks share the tokens in order, the first ranks one more where they don't
// divide.
RankResult run_layer_rank(Group& group, const RunOptions& options, const LayerCase& layer);

}  // namespace braid::app
