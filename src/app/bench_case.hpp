// What one rank of a bench sends: the same numbers for whoever asks, so that the check knows them.
#pragma once

#include <cstdint>
#include <vector>

#include "app/bench.hpp"
#include "app/random.hpp"
#include "braid/buffer.hpp"
#include "braid/high_throughput.hpp"

namespace braid::app {

struct BenchInputs {
  std::vector<std::uint16_t> tokens;  // BF16 [num_tokens, hidden]
  Routing routing;
};
// On CUDA with handle slots for kHandlesOfASet dispatches of each set.
inline constexpr int kHandlesOfASet = 3;
BufferOptions bench_buffer_options(const BenchOptions& options, const BenchCase& bench);

// The same of high throughput, with a handle that is laid out once and one for a graph of layouts.
HighThroughputOptions bench_throughput_options(const BenchOptions& options, const BenchCase& bench);

BenchInputs bench_inputs(const BenchOptions& options, const BenchCase& bench, int rank,
                         int set = 0);

// The ranks that hold one of its experts, ascending.
std::vector<int> ranks_of_token(const BenchOptions& options, const BenchCase& bench,
                                const Routing& routing, int token);

}  // namespace braid::app
