// Traffic, held against counting by hand and against the layered path's arithmetic.
#include <gtest/gtest.h>

#include <cmath>
#include <set>
#include <tuple>

#include "unit/predict/cases.hpp"

namespace braid::test {
namespace {

using predict::Path;
using predict::Traffic;
using predict::TrafficRules;

TrafficRules rules(FanOut fan_out, Reduce reduce, int rounds = 2) {
  return {.topology = {4, 2}, .experts = {16, 4, rounds}, .fan_out = fan_out, .reduce = reduce};
}

// Distinct (from, to, round) of dispatch copies or combine rows, token by token.
double counted(const Routed& routed, const TrafficRules& rules, int from, int to, bool dispatch) {
  double total = 0;
  const auto& table = routed.topk[static_cast<std::size_t>(from)];
  for (std::size_t token = 0; token * routed.k < table.size(); ++token) {
    std::set<std::tuple<int, int>> seen;
    for (int choice = 0; choice < routed.k; ++choice) {
      const int expert = table[token * routed.k + choice];
      if (expert < 0 || rules.experts.rank_of(expert) != to) continue;
      const bool by_expert =
          dispatch ? rules.fan_out == FanOut::kPerExpert : rules.reduce == Reduce::kTokenRank;
      // A copy for the whole rank is sent once; sums are made once a round.
      seen.insert(by_expert ? std::tuple{0, expert}
                            : std::tuple{1, dispatch ? 0 : rules.experts.round_of(expert)});
    }
    total += static_cast<double>(seen.size());
  }
  return total;
}

TEST(Traffic, CountsWhatEveryTokenSends) {
  for (const FanOut fan_out : {FanOut::kPerExpert, FanOut::kPerRank}) {
    for (const Reduce reduce : {Reduce::kTokenRank, Reduce::kExpertRank}) {
      const TrafficRules all = rules(fan_out, reduce);
      const Routed routed = Routed::random(all, 40, 4);
      const Traffic traffic = routed.traffic(all);
      for (int rank = 0; rank < 4; ++rank) {
        const Traffic::Sums sent = traffic.dispatch_sent(rank, {0, 2});
        const int peer = rank ^ 1;
        EXPECT_EQ(sent.self, counted(routed, all, rank, rank, true));
        EXPECT_EQ(sent.same_node, counted(routed, all, rank, peer, true));
        double others = 0, received = 0, rows = 0, home = 0;
        for (int other = 0; other < 4; ++other) {
          rows += counted(routed, all, rank, other, false);
          if (other / 2 == rank / 2) continue;
          others += counted(routed, all, rank, other, true);
          received += counted(routed, all, other, rank, true);
          home += counted(routed, all, other, rank, false);
        }
        EXPECT_EQ(sent.other_nodes, others);
        EXPECT_EQ(traffic.dispatch_received_by_nic(rank, {0, 2}), received);
        EXPECT_EQ(traffic.combine_sent(rank, {0, 2}).other_nodes, home);
        EXPECT_EQ(traffic.combine_rows(rank), rows);
      }
    }
  }
}

TEST(Traffic, RoundsAddUp) {
  const TrafficRules all = rules(FanOut::kPerRank, Reduce::kExpertRank, 4);
  const Traffic traffic = Routed::random(all, 60, 4).traffic(all);
  double sum = 0;
  for (int round = 0; round < 4; ++round) {
    sum += traffic.dispatch_sent(0, {round, round + 1}).all();
  }
  EXPECT_EQ(sum, traffic.dispatch_sent(0, {0, 4}).all());
  EXPECT_GT(traffic.dispatch_sent(0, {0, 1}).all(), traffic.dispatch_sent(0, {3, 4}).all())
      << "a copy goes with the first round that needs it";
}

// p = 1 - C(E-m, k) / C(E, k) that a token has an expert among m of E.
double reaches(int experts, int of, int k) {
  double none = 1;
  for (int i = 0; i < k; ++i) none *= static_cast<double>(experts - of - i) / (experts - i);
  return 1 - none;
}

TEST(Traffic, TheLayeredPathSendsOneCopyANode) {
  for (const int nodes : {2, 4}) {
    TrafficRules direct = {
        .topology = {nodes * 8, 8}, .experts = {256, nodes * 8, 1}, .fan_out = FanOut::kPerExpert};
    TrafficRules layered = direct;
    layered.path = Path::kLayered;
    // Distinct experts, since the arithmetic is of those.
    Routed routed;
    routed.k = 8;
    std::mt19937 random(3);
    constexpr int kTokens = 500;
    for (int rank = 0; rank < direct.topology.num_ranks; ++rank) {
      auto& table = routed.topk.emplace_back();
      for (int token = 0; token < kTokens; ++token) {
        std::set<int> chosen;
        while (chosen.size() < 8) chosen.insert(static_cast<int>(random() % 256));
        table.insert(table.end(), chosen.begin(), chosen.end());
      }
    }
    const Traffic straight = routed.traffic(direct), once = routed.traffic(layered);
    double direct_copies = 0, node_copies = 0, received = 0, taken = 0;
    for (int rank = 0; rank < direct.topology.num_ranks; ++rank) {
      direct_copies += straight.dispatch_sent(rank, {0, 1}).other_nodes;
      node_copies += once.dispatch_sent(rank, {0, 1}).other_nodes;
      received += once.dispatch_received_by_nic(rank, {0, 1});
      taken += once.dispatch_taken(rank, {0, 1});
    }
    const double tokens = kTokens * direct.topology.num_ranks;
    // 0.07: four deviations of the mean of 8000 tokens.
    EXPECT_NEAR(direct_copies / tokens, 8.0 * (nodes - 1) / nodes, 0.07);
    EXPECT_NEAR(node_copies / tokens, (nodes - 1) * reaches(256, 256 / nodes, 8), 0.02);
    EXPECT_EQ(received, node_copies);
    // Seven of eight ranks of a node are not on the sender's rail.
    EXPECT_NEAR(taken / direct_copies, 7.0 / 8, 0.01);
  }
}

}  // namespace
}  // namespace braid::test
