// How much of a routing goes from where to where: the walk of layout/routes.hpp, added up.
#pragma once

#include <cstdint>
#include <vector>

#include "braid/buffer.hpp"
#include "braid/topology.hpp"
#include "layout/routes.hpp"

namespace braid::predict {

// How dispatch reaches another node: straight to the rank, or once per node along the rail, where
// the node's ranks take it from the rank of the same rail.
enum class Path : std::uint8_t { kDirect, kLayered };

struct TrafficRules {
  Topology topology;
  ExpertMap experts;  // with as many rounds as a schedule has at most
  FanOut fan_out = FanOut::kPerRank;
  Path path = Path::kDirect;
  Reduce reduce = Reduce::kTokenRank;
};

// Counts of one batch of tokens on every rank.
class Traffic {
 public:
  explicit Traffic(const TrafficRules& rules);

  // A rank's top-k table; each rank once.
  void add_rank(int rank, const layout::TopK& topk);

  // Rounds [first, end) of an operation: what a rank sends and gets.
  struct Rounds {
    int first = 0;
    int end = 1;
  };
  struct Sums {
    // Messages by where they go. To other nodes on the layered path: one per node.
    double self = 0, same_node = 0, other_nodes = 0;
    double all() const { return self + same_node + other_nodes; }
  };
  Sums dispatch_sent(int rank, const Rounds& rounds) const;
  // Copies that arrive at a rank's network card.
  double dispatch_received_by_nic(int rank, const Rounds& rounds) const;
  // On the layered path: copies that a rank takes from its node's ranks.
  double dispatch_taken(int rank, const Rounds& rounds) const;
  Sums combine_sent(int rank, const Rounds& rounds) const;
  double combine_received_by_nic(int rank, const Rounds& rounds) const;
  // Rows that a rank sums.
  double combine_rows(int rank) const;

  double tokens(int rank) const { return tokens_[static_cast<std::size_t>(rank)]; }
  // Rows of a rank's local expert.
  double expert_rows(int rank, int local) const {
    return rows_[static_cast<std::size_t>(rank * rules_.experts.num_local() + local)];
  }
  const TrafficRules& rules() const { return rules_; }

 private:
  using Counts = std::vector<std::uint32_t>;
  std::size_t at(int from, int to, int round) const {
    return (static_cast<std::size_t>(from) * static_cast<std::size_t>(rules_.experts.num_ranks) +
            static_cast<std::size_t>(to)) *
               static_cast<std::size_t>(rules_.experts.num_rounds) +
           static_cast<std::size_t>(round);
  }
  double sum(const Counts& counts, int from, int to, const Rounds& rounds) const;
  void add_token(int rank, const layout::TopK& topk, std::int64_t token);
  double node_copies(int from, int node, const Rounds& rounds) const;

  TrafficRules rules_;
  // [from][to][round]: copies of dispatch; rows of combine, which go back from `to` to `from`. At
  // the node of a layered copy, `to` is its first rank.
  Counts messages_, home_, node_messages_;
  std::vector<double> rows_, tokens_;
};

}  // namespace braid::predict
