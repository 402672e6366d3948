// What one rank of a bench sends: the same numbers for whoever asks, so that the check knows them.
#pragma once

#include <cstdint>
#include <vector>

#include "app/bench.hpp"
#include "app/random.hpp"

namespace braid::app {

struct BenchInputs {
  std::vector<std::uint16_t> tokens;  // BF16 [num_tokens, hidden]
  Routing routing;
};
BenchInputs bench_inputs(const BenchOptions& options, const BenchCase& bench, int rank);

}  // namespace braid::app
