#include "app/bench_case.hpp"

#include "base/check.hpp"
#include "braid/buffer.hpp"

namespace braid::app {
namespace {

constexpr std::uint64_t kTokenStream = 100000;

// Like experts' outputs rather than like hidden states: LogFMT casts groups of small values only,
// and a benchmark that never casts would not show its cost.
constexpr double kTokenRms = 0.125;

}  // namespace

BenchCase load_bench(const BenchOptions& options) {
  check(options.communication);
  BenchCase bench;
  bench.shape = {options.hidden, options.experts, options.top_k};
  if (options.routing != "uniform" && options.routing != "zipf") {
    bench.recorded = read_routing(options.routing, options.experts);
    bench.shape.top_k = bench.recorded.top_k;
    require(options.top_k == 0 || options.top_k == bench.recorded.top_k,
            "--topk is {}, but {} has {} choices a token", options.top_k, options.routing,
            bench.recorded.top_k);
  } else if (options.top_k == 0) {
    bench.shape.top_k = kDefaultTopK;
  }
  check(options.communication, bench.shape);
  Buffer::plan(options.communication.topology(),
               buffer_options(options.communication, bench.shape, options.tokens));
  return bench;
}

BenchInputs bench_inputs(const BenchOptions& options, const BenchCase& bench, int rank) {
  const std::uint64_t seed = options.communication.seed;
  BenchInputs inputs;
  Random random(seed, kTokenStream + static_cast<std::uint64_t>(rank));
  inputs.tokens = random_tokens(random, options.tokens, options.hidden, kTokenRms);
  if (bench.recorded.num_tokens > 0) {
    inputs.routing = replay(bench.recorded, options.tokens, seed, rank);
  } else {
    const Popularity popularity =
        options.routing == "zipf" ? Popularity::kZipf : Popularity::kUniform;
    inputs.routing = random_routing(popularity, bench.shape.experts, bench.shape.top_k,
                                    options.tokens, seed, rank);
  }
  return inputs;
}

}  // namespace braid::app
