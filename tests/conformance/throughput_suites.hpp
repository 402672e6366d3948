// What every backend must pass in high throughput: one rank's part, whatever its group is made of,
// which throws what went wrong.
#pragma once

#include "braid/group.hpp"

namespace braid::conformance {

void run_throughput_cases(Group& group);
void run_throughput_handles_in_turn(Group& group);
void run_throughput_gradients(Group& group);
void run_throughput_expanded_gradients(Group& group);
void run_throughput_expanded(Group& group);
// Twenty times the same, and the worst case's prefix as exact outputs: bit for bit.
void run_throughput_repeats(Group& group);
// Tokens of every number around a chunk's, on buffers of several depths.
void run_throughput_sizes(Group& group);

}  // namespace braid::conformance
