// A layer's run and check.
#pragma once

#include <vector>

#include "app/layer_case.hpp"
#include "app/rank_result.hpp"
#include "app/report.hpp"

namespace braid::app {

// Holds what the ranks gave against the case's references. Limits on model::diff:
//
//   the expected output, or Braid's own dense float32     1e-5 for BF16 dispatch, 2e-3 for FP8
//   FP8: the same dense float32 whose routed experts see  1e-5
//        the tokens as the codec rounds them
//   LogFMT combine                                        2e-4 more on each
//
// verified is true if every comparison holds, every repeat gave the same bits, and, for sums at the
// token's rank, the schedule gave the same bits as the layer without overlap.
RunReport make_report(const RunOptions& options, const LayerCase& layer,
                      const std::vector<RankResult>& results);

}  // namespace braid::app
