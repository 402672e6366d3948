// What every backend must pass, on ranks that are threads. Each returns, by rank, "" or what went
// wrong there.
#pragma once

#include <string>
#include <vector>

#include "braid/group.hpp"

namespace braid::conformance {

using Failures = std::vector<std::string>;

struct Ranks {
  Topology topology;
  GroupOptions options;
};

Failures every_case(const Ranks& ranks);
Failures two_dispatches_before_the_first_hook(const Ranks& ranks);
Failures each_round_goes_home_before_the_next_arrives(const Ranks& ranks);
Failures all_empty_ranks_for_a_hundred_epochs(const Ranks& ranks);
Failures random_schedule(const Ranks& ranks, int depth, int num_steps);

}  // namespace braid::conformance
