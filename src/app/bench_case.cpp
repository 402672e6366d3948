#include "app/bench_case.hpp"

#include <algorithm>

#include "base/check.hpp"
#include "braid/buffer.hpp"
#include "codec/row.hpp"
#include "topology/experts.hpp"

namespace braid::app {
namespace {

constexpr std::uint64_t kTokenStream = 100000;

// Like experts' outputs rather than like hidden states: LogFMT casts groups of small values only,
// and a benchmark that never casts would not show its cost.
constexpr double kTokenRms = 0.125;

// H100 and H200 have 50 MB of second-level cache.
constexpr std::int64_t kCacheBytes = 50'000'000;
constexpr int kMostDefaultSets = 256;
constexpr int kMostSets = 4096;

// A sets' bytes are those that a rank's dispatch reads and writes, its own tokens and as many rows
// as they have routes; a combine touches no fewer.
int default_sets(const BenchOptions& options, const LayerShape& shape) {
  const DispatchFormat format = options.communication.dispatch;
  const std::int64_t row = codec::dispatch_data_bytes(format, shape.hidden) +
                           codec::dispatch_scale_bytes(format, shape.hidden);
  const std::int64_t token = std::int64_t{2} * shape.hidden + row * shape.top_k;
  const std::int64_t sets = 2 * kCacheBytes / (token * options.tokens) + 1;
  return static_cast<int>(std::clamp<std::int64_t>(sets, 2, kMostDefaultSets));
}

}  // namespace

BenchCase load_bench(const BenchOptions& options) {
  check(options.communication);
  const bool cuda = options.communication.backend == Backend::kCuda;
  require(options.sets == 0 || cuda,
          "--sets is {}, but only --backend cuda takes inputs and outputs in turn", options.sets);
  require(options.sets <= kMostSets, "--sets is {}, but must be at most {}", options.sets,
          kMostSets);
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
  if (cuda) bench.sets = options.sets == 0 ? default_sets(options, bench.shape) : options.sets;
  const Topology topology = options.communication.topology();
  check_alignment(options.communication, bench.shape, options.tokens);
  if (!cuda) {
    check_buffer(options.communication, bench.shape, options.tokens);
  } else if (options.communication.mode == Mode::kHighThroughput) {
    HighThroughputBuffer::plan(topology, bench_throughput_options(options, bench));
  } else {
    Buffer::plan(topology, bench_buffer_options(options, bench));
  }
  return bench;
}

BufferOptions bench_buffer_options(const BenchOptions& options, const BenchCase& bench) {
  BufferOptions buffer = buffer_options(options.communication, bench.shape, options.tokens);
  if (options.communication.backend == Backend::kCuda) {
    buffer.handle_slots = kHandlesOfASet * bench.sets;
  }
  return buffer;
}

HighThroughputOptions bench_throughput_options(const BenchOptions& options,
                                               const BenchCase& bench) {
  HighThroughputOptions buffer =
      throughput_options(options.communication, bench.shape, options.tokens);
  buffer.handle_slots = 2 * bench.sets;
  return buffer;
}

BenchInputs bench_inputs(const BenchOptions& options, const BenchCase& bench, int rank, int set) {
  const std::uint64_t seed = options.communication.seed;
  const int source = rank + set * options.communication.ranks;
  BenchInputs inputs;
  Random random(seed, kTokenStream + static_cast<std::uint64_t>(source));
  inputs.tokens = random_tokens(random, options.tokens, options.hidden, kTokenRms);
  if (bench.recorded.num_tokens > 0) {
    inputs.routing = replay(bench.recorded, options.tokens, seed, source);
  } else {
    const Popularity popularity =
        options.routing == "zipf" ? Popularity::kZipf : Popularity::kUniform;
    inputs.routing = random_routing(popularity, bench.shape.experts, bench.shape.top_k,
                                    options.tokens, seed, source);
  }
  return inputs;
}

std::vector<int> ranks_of_token(const BenchOptions& options, const BenchCase& bench,
                                const Routing& routing, int token) {
  const ExpertMap map{bench.shape.experts, options.communication.ranks};
  const auto first = routing.topk_idx.begin() + std::ptrdiff_t{token} * routing.top_k;
  std::vector<int> ranks;
  std::for_each(first, first + routing.top_k, [&](std::int64_t expert) {
    if (expert >= 0) ranks.push_back(map.rank_of(static_cast<int>(expert)));
  });
  std::sort(ranks.begin(), ranks.end());
  ranks.erase(std::unique(ranks.begin(), ranks.end()), ranks.end());
  return ranks;
}

}  // namespace braid::app
