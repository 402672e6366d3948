#include "conformance/throughput_suites.hpp"

#include <stdexcept>

#include "conformance/throughput_run.hpp"

namespace braid::conformance {
namespace {

void require_same(const std::string& difference, const std::string& what) {
  if (!difference.empty()) throw std::runtime_error(what + ": " + difference);
}

}  // namespace

void run_throughput_cases(Group& group) {
  ThroughputRun run(group, throughput_options(group.topology()));
  std::uint64_t seed = 1;
  for (const ThroughputCase& c : throughput_cases(group.topology().num_ranks)) {
    for (const Routing routing : kRoutings) {
      require_same(run.run(c, routing, seed), c.name() + "/" + to_string(routing));
      ++seed;
    }
  }
}

void run_throughput_handles_in_turn(Group& group) {
  ThroughputRun run(group, throughput_options(group.topology()));
  std::uint64_t seed = 1;
  for (const ThroughputCase& c : throughput_cases(group.topology().num_ranks)) {
    if (!c.is_exact()) require_same(run.run_two_handles(c, seed += 2), c.name());
  }
}

void run_throughput_gradients(Group& group) {
  ThroughputRun run(group, throughput_options(group.topology()));
  std::uint64_t seed = 1;
  for (const Routing routing : kRoutings) {
    require_same(run.run_gradients(routing, seed++), to_string(routing));
  }
}

void run_throughput_expanded_gradients(Group& group) {
  HighThroughputOptions options = throughput_options(group.topology());
  options.expanded = true;
  ThroughputRun run(group, options);
  std::uint64_t seed = 1;
  for (const Routing routing : kRoutings) {
    require_same(run.run_expanded_gradients(routing, seed++), to_string(routing));
  }
}

void run_throughput_expanded(Group& group) {
  HighThroughputOptions options = throughput_options(group.topology());
  options.expanded = true;
  ThroughputRun run(group, options);
  std::uint64_t seed = 1;
  for (ThroughputCase c : throughput_cases(group.topology().num_ranks)) {
    if (c.is_in_place()) continue;
    c.has_weights = true;
    for (const Routing routing : kRoutings) {
      const std::string what = "expanded/" + c.name() + "/" + to_string(routing);
      require_same(run.run_expanded(c, routing, seed), what);
      // The other form on the same buffer.
      if (routing == Routing::kRepeated) require_same(run.run(c, routing, seed), what);
      ++seed;
    }
  }
}

void run_throughput_repeats(Group& group) {
  ThroughputRun run(group, throughput_options(group.topology()));
  for (const RowsAre rows : {RowsAre::kBf16, RowsAre::kQuantized}) {
    ThroughputCase c;
    c.rows = rows;
    c.in = RowsIn::kWorstCaseTensors;
    c.workers = 3;
    const auto first = run.outputs_of(c, Routing::kRandom, 7);
    for (int repeat = 1; repeat < 20; ++repeat) {
      if (run.outputs_of(c, Routing::kRandom, 7) != first) {
        throw std::runtime_error(c.name() + ": a repeat differs");
      }
    }
  }
}

void run_throughput_sizes(Group& group) {
  for (const int depth : {1, 3}) {
    HighThroughputOptions options = throughput_options(group.topology());
    options.depth = depth;
    ThroughputRun run(group, options);
    for (const int tokens : {1, 31, 32, 33, 64, 65, 129}) {
      ThroughputCase c;
      c.workers = 1 + tokens % 3;
      require_same(run.run_full(c, tokens, 3), std::to_string(tokens) + " tokens");
    }
  }
}

}  // namespace braid::conformance
