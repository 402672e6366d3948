// Dispatch and combine alone, timed: experts are identities, so every route brings its token home.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "app/options.hpp"
#include "app/random.hpp"
#include "app/rank_result.hpp"
#include "app/report.hpp"
#include "braid/group.hpp"

namespace braid::app {

// Iterations before those that count: first touches of memory, threads that wake up.
inline constexpr int kWarmUps = 2;

// What the ranks work on.
struct BenchCase {
  LayerShape shape;
  RecordedRouting recorded;  // of options.routing, where that is a file
  int sets = 1;              // inputs and outputs that operations rotate through; 1 on the CPU

  // The sets whose output is checked, in the order of RankResult::output.
  std::vector<int> checked_sets() const {
    return sets == 1 ? std::vector<int>{0} : std::vector<int>{0, sets - 1};
  }
};
// Throws kInvalidArgument, kFormat or kMissing for options that don't fit.
BenchCase load_bench(const BenchOptions& options);

// Collective, on what the group computes on. progress(done, of) is called on rank 0, outside of
// what is timed.
using Progress = std::function<void(int done, int of)>;
RankResult run_bench_rank(Group& group, const BenchOptions& options, const BenchCase& bench,
                          const Progress& progress);

// Every rank's output against each token times the sum of its weights; for FP8 also with the
// tokens as the codec rounds them.
BenchReport make_report(const BenchOptions& options, const BenchCase& bench,
                        const std::vector<RankResult>& results);

}  // namespace braid::app
