// Who is where: ranks, nodes, rails. Ranks of a node reach each other's memory by load and store
// (the scale-up domain); between nodes data moves through a transport (scale-out).
//
// Ranks are numbered node by node: rank = node * ranks_per_node + rail.
#pragma once

namespace braid {

struct Topology {
  int num_ranks = 1;
  int ranks_per_node = 1;

  constexpr int num_nodes() const { return num_ranks / ranks_per_node; }
  constexpr int node_of(int rank) const { return rank / ranks_per_node; }
  constexpr int rail_of(int rank) const { return rank % ranks_per_node; }
  constexpr bool same_node(int a, int b) const { return node_of(a) == node_of(b); }
  friend constexpr bool operator==(const Topology&, const Topology&) = default;
};

// Throws kInvalidArgument unless 1 <= ranks_per_node <= num_ranks divides num_ranks.
void validate(const Topology& topology);

}  // namespace braid
