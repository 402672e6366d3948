// A rank's part of a bench of high throughput on GPUs.
#pragma once

#include "app/bench.hpp"

namespace braid::app {

// As run_gpu_bench_rank, for Mode::kHighThroughput. Dispatch and combine are on a handle that was
// laid out before. Combine of rows by source takes them as they were received, so that a token
// comes home as often as it went to a rank; that of rows by expert weighs them.
RankResult run_gpu_throughput_rank(Group& group, const BenchOptions& options,
                                   const BenchCase& bench, const Progress& progress);

}  // namespace braid::app
