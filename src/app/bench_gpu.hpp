// A rank's part of a bench on GPUs.
#pragma once

#include "app/bench.hpp"

namespace braid::app {

// As run_bench_rank, for a group of Backend::kCuda. Times are of graphs of one kind of operation,
// launched by all ranks together, then of plain calls; operations take the sets in turn.
RankResult run_gpu_bench_rank(Group& group, const BenchOptions& options, const BenchCase& bench,
                              const Progress& progress);

}  // namespace braid::app
