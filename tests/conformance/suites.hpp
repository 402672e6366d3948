// What every backend must pass: one rank's part, whatever its group is made of, which throws what
// went wrong; and all of it on ranks that are threads, which returns that by rank, or "".
#pragma once

#include <string>
#include <vector>

#include "braid/group.hpp"
#include "conformance/case.hpp"

namespace braid::conformance {

using Failures = std::vector<std::string>;

struct Ranks {
  Topology topology;
  GroupOptions options;
};

void run_cases(Group& group, const std::vector<Case>& cases);
void run_two_dispatches_before_the_first_hook(Group& group);
void run_rounds_that_go_home_before_the_next_arrives(Group& group);
void run_empty_ranks_for_a_hundred_epochs(Group& group);
void run_block_signals(Group& group);
void run_schedule(Group& group, int depth, int num_steps);

Failures every_case(const Ranks& ranks);
Failures two_dispatches_before_the_first_hook(const Ranks& ranks);
Failures each_round_goes_home_before_the_next_arrives(const Ranks& ranks);
Failures all_empty_ranks_for_a_hundred_epochs(const Ranks& ranks);
Failures block_signals(const Ranks& ranks);
Failures random_schedule(const Ranks& ranks, int depth, int num_steps);

}  // namespace braid::conformance
