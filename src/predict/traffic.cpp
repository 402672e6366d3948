#include "predict/traffic.hpp"

#include <array>
#include <utility>

#include "base/check.hpp"

namespace braid::predict {

Traffic::Traffic(const TrafficRules& rules) : rules_(rules) {
  const auto ranks = static_cast<std::size_t>(rules.experts.num_ranks);
  const std::size_t cells = ranks * ranks * static_cast<std::size_t>(rules.experts.num_rounds);
  messages_.resize(cells);
  home_.resize(cells);
  if (rules.path == Path::kLayered) node_messages_.resize(cells);
  rows_.resize(static_cast<std::size_t>(rules.experts.num_experts));
  tokens_.resize(ranks);
}

void Traffic::add_rank(int rank, const layout::TopK& topk) {
  require(topk.k >= 1 && topk.k <= layout::kMaxTopK, "top-k is {}, but must be from 1 to {}",
          topk.k, layout::kMaxTopK);
  tokens_[static_cast<std::size_t>(rank)] = topk.num_tokens;
  for (std::int64_t token = 0; token < topk.num_tokens; ++token) add_token(rank, topk, token);
}

void Traffic::add_token(int rank, const layout::TopK& topk, std::int64_t token) {
  const layout::TopKRow experts{&topk, token};
  const layout::RouteRules rules{rules_.experts, rules_.fan_out == FanOut::kPerExpert};
  std::array<std::pair<int, int>, layout::kMaxTopK> summed,
      reached;  // (rank, round), (node, round)
  std::size_t num_summed = 0, num_reached = 0;
  // Whether this is the first of its kind; `all` and its count are then one longer.
  const auto is_new = [](auto& all, std::size_t& count, const std::pair<int, int>& value) {
    for (std::size_t i = 0; i < count; ++i) {
      if (all[i] == value) return false;
    }
    all[count++] = value;
    return true;
  };
  for (int choice = 0; choice < topk.k; ++choice) {
    const layout::ChoicePlan plan = layout::plan_from_token(rules, experts, topk.k, choice);
    if (plan.expert < 0) continue;
    const int round = rules_.experts.round_of(plan.expert);
    if (plan.leads()) ++messages_[at(rank, plan.rank, plan.message_round)];
    if (!plan.repeats(choice)) {
      ++rows_[static_cast<std::size_t>(plan.expert)];
      if (rules_.reduce == Reduce::kTokenRank) ++home_[at(rank, plan.rank, round)];
    }
    if (rules_.reduce == Reduce::kExpertRank && is_new(summed, num_summed, {plan.rank, round})) {
      ++home_[at(rank, plan.rank, round)];
    }
    if (rules_.path == Path::kLayered) {
      const int node = rules_.topology.node_of(plan.rank);
      // Bytes reach a node once, with the first round that needs them there.
      bool first = true;
      for (int other = 0; other < topk.k; ++other) {
        if (experts[other] < 0) continue;
        if (rules_.topology.node_of(rules_.experts.rank_of(experts[other])) != node) continue;
        first = first && rules_.experts.round_of(experts[other]) >= round;
      }
      if (first && is_new(reached, num_reached, {node, round})) {
        ++node_messages_[at(rank, node * rules_.topology.ranks_per_node, round)];
      }
    }
  }
}

double Traffic::sum(const Counts& counts, int from, int to, const Rounds& rounds) const {
  double total = 0;
  for (int round = rounds.first; round < rounds.end; ++round) total += counts[at(from, to, round)];
  return total;
}

double Traffic::node_copies(int from, int node, const Rounds& rounds) const {
  return sum(node_messages_, from, node * rules_.topology.ranks_per_node, rounds);
}

Traffic::Sums Traffic::dispatch_sent(int rank, const Rounds& rounds) const {
  const Topology& topology = rules_.topology;
  Sums sums;
  for (int to = 0; to < topology.num_ranks; ++to) {
    if (to == rank) {
      sums.self += sum(messages_, rank, to, rounds);
    } else if (topology.same_node(rank, to)) {
      sums.same_node += sum(messages_, rank, to, rounds);
    } else if (rules_.path == Path::kDirect) {
      sums.other_nodes += sum(messages_, rank, to, rounds);
    }
  }
  if (rules_.path == Path::kDirect) return sums;
  for (int node = 0; node < topology.num_nodes(); ++node) {
    if (node != topology.node_of(rank)) sums.other_nodes += node_copies(rank, node, rounds);
  }
  return sums;
}

double Traffic::dispatch_received_by_nic(int rank, const Rounds& rounds) const {
  const Topology& topology = rules_.topology;
  double total = 0;
  for (int from = 0; from < topology.num_ranks; ++from) {
    if (topology.same_node(rank, from)) continue;
    if (rules_.path == Path::kDirect) {
      total += sum(messages_, from, rank, rounds);
    } else if (topology.rail_of(from) == topology.rail_of(rank)) {
      total += node_copies(from, topology.node_of(rank), rounds);
    }
  }
  return total;
}

double Traffic::dispatch_taken(int rank, const Rounds& rounds) const {
  if (rules_.path == Path::kDirect) return 0;
  const Topology& topology = rules_.topology;
  double total = 0;
  for (int from = 0; from < topology.num_ranks; ++from) {
    if (topology.same_node(rank, from) || topology.rail_of(from) == topology.rail_of(rank))
      continue;
    total += sum(messages_, from, rank, rounds);
  }
  return total;
}

Traffic::Sums Traffic::combine_sent(int rank, const Rounds& rounds) const {
  Sums sums;
  for (int owner = 0; owner < rules_.topology.num_ranks; ++owner) {
    const double rows = sum(home_, owner, rank, rounds);
    if (owner == rank) {
      sums.self += rows;
    } else if (rules_.topology.same_node(owner, rank)) {
      sums.same_node += rows;
    } else {
      sums.other_nodes += rows;
    }
  }
  return sums;
}

double Traffic::combine_received_by_nic(int rank, const Rounds& rounds) const {
  double total = 0;
  for (int from = 0; from < rules_.topology.num_ranks; ++from) {
    if (!rules_.topology.same_node(from, rank)) total += sum(home_, rank, from, rounds);
  }
  return total;
}

double Traffic::combine_rows(int rank) const {
  double total = 0;
  for (int from = 0; from < rules_.topology.num_ranks; ++from) {
    total += sum(home_, rank, from, {0, rules_.experts.num_rounds});
  }
  return total;
}

}  // namespace braid::predict
