#include "conformance/suites.hpp"

#include <stdexcept>

#include "conformance/rank_run.hpp"
#include "conformance/schedule_run.hpp"
#include "conformance/signal_run.hpp"
#include "support/ranks.hpp"

namespace braid::conformance {
namespace {

void require_same(const std::string& difference, const std::string& what) {
  if (!difference.empty()) throw std::runtime_error(what + ": " + difference);
}

}  // namespace

void run_cases(Group& group, const std::vector<Case>& cases) {
  RankRun run(group, buffer_options(group.topology()));
  std::uint64_t seed = 1;
  for (const Case& c : cases) {
    for (const Routing routing : kRoutings) {
      require_same(run.run(c, routing, seed), c.name() + "/" + to_string(routing));
      ++seed;
    }
  }
}

void run_two_dispatches_before_the_first_hook(Group& group) {
  RankRun run(group, buffer_options(group.topology()));
  std::uint64_t seed = 1;
  for (const Case& c : pairwise_cases()) {
    require_same(run.run_two_in_flight(c, seed += 2), c.name());
  }
}

void run_rounds_that_go_home_before_the_next_arrives(Group& group) {
  RankRun run(group, buffer_options(group.topology()));
  std::uint64_t seed = 1;
  for (const Case& c : all_cases()) {
    if (c.reduce != Reduce::kTokenRank || c.dispatch_rounds != c.combine_rounds) continue;
    if (c.dispatch != DispatchFormat::kBf16 || c.dispatch_rounds == 1) continue;
    for (const Routing routing : {Routing::kRandom, Routing::kRepeated}) {
      require_same(run.run_round_by_round(c, routing, seed++), c.name());
    }
  }
}

void run_empty_ranks_for_a_hundred_epochs(Group& group) {
  RankRun run(group, buffer_options(group.topology()));
  Case c;
  c.dispatch_rounds = 2;
  c.combine_rounds = 2;
  // Two operations each, and a round of real work at the end: the depths must still be in step.
  for (std::uint64_t epoch = 0; epoch < 50; ++epoch) {
    require_same(run.run(c, Routing::kMasked, epoch), "masked");
  }
  require_same(run.run(c, Routing::kFull, 50), "full");
}

void run_block_signals(Group& group) {
  SignalRun run(group, buffer_options(group.topology()));
  std::uint64_t seed = 1;
  for (const SignalCase& s : signal_cases()) {
    for (const Routing routing : kRoutings) {
      require_same(run.run_signals(s, routing, seed++), s.name() + "/" + to_string(routing));
    }
  }
}

void run_schedule(Group& group, int depth, int num_steps) {
  BufferOptions options = buffer_options(group.topology());
  options.depth = depth;
  ScheduleRun run(group, options, 11 + static_cast<std::uint64_t>(depth));
  require_same(run.run_schedule(num_steps), "schedule");
}

Failures every_case(const Ranks& ranks) {
  const std::vector<Case> cases = cases_of_this_build();
  return testing::run_ranks(ranks.topology, ranks.options,
                            [&](Group& group) { run_cases(group, cases); });
}

Failures two_dispatches_before_the_first_hook(const Ranks& ranks) {
  return testing::run_ranks(ranks.topology, ranks.options,
                            run_two_dispatches_before_the_first_hook);
}

Failures each_round_goes_home_before_the_next_arrives(const Ranks& ranks) {
  return testing::run_ranks(ranks.topology, ranks.options,
                            run_rounds_that_go_home_before_the_next_arrives);
}

Failures all_empty_ranks_for_a_hundred_epochs(const Ranks& ranks) {
  return testing::run_ranks(ranks.topology, ranks.options, run_empty_ranks_for_a_hundred_epochs);
}

Failures block_signals(const Ranks& ranks) {
  return testing::run_ranks(ranks.topology, ranks.options, run_block_signals);
}

Failures random_schedule(const Ranks& ranks, int depth, int num_steps) {
  return testing::run_ranks(ranks.topology, ranks.options,
                            [&](Group& group) { run_schedule(group, depth, num_steps); });
}

}  // namespace braid::conformance
