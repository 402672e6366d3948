#include "braid/topology.hpp"

#include "base/check.hpp"

namespace braid {

void validate(const Topology& topology) {
  require(topology.num_ranks >= 1, "ranks is {}, but must be at least 1", topology.num_ranks);
  require(topology.ranks_per_node >= 1, "ranks per node is {}, but must be at least 1",
          topology.ranks_per_node);
  require(topology.num_ranks % topology.ranks_per_node == 0,
          "{} ranks are not divisible by {} ranks per node", topology.num_ranks,
          topology.ranks_per_node);
}

}  // namespace braid
