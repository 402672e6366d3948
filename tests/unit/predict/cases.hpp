// Small machines and routings whose times can be worked out by hand.
#pragma once

#include <cstdint>
#include <random>
#include <vector>

#include "braid/overlap.hpp"
#include "predict/predict.hpp"

namespace braid::test {

// 100 SMs, 1000 GB/s of memory, 100 GB/s of NVLink, 10 GB/s of network, nothing that takes time
// beside bytes and arithmetic.
inline predict::LayerCase plain_layer() {
  predict::LayerCase layer;
  layer.device = {.name = "plain",
                  .sms = 100,
                  .bf16_tflops = 100,
                  .fp8_tflops = 200,
                  .memory_gbps = 1000,
                  .nvlink_gbps = 100,
                  .nic_gbps = 10,
                  .nvlink_push_gbps = {{{50, 100}}},
                  .copy_gbps = {{{50, 500}}},
                  .gemm_efficiency = 1};
  layer.protocol = {.name = "plain", .nic_efficiency = 1, .nvlink_efficiency = 1};
  layer.shape = {.name = "plain", .hidden = 1024, .expert_width = 512, .experts = 16, .top_k = 2};
  return layer;
}

// Every rank's choices, [rank][token][k], and the traffic that they make.
struct Routed {
  std::vector<std::vector<std::int32_t>> topk;
  int k = 2;

  static Routed random(const predict::TrafficRules& rules, int tokens, int k) {
    Routed routed;
    routed.k = k;
    std::mt19937 random(7);
    for (int rank = 0; rank < rules.topology.num_ranks; ++rank) {
      auto& table = routed.topk.emplace_back();
      for (int i = 0; i < tokens * k; ++i) {
        // Now and then no expert, and now and then the same one twice.
        table.push_back(static_cast<std::int32_t>(
                            random() % static_cast<unsigned>(rules.experts.num_experts + 1)) -
                        1);
      }
    }
    return routed;
  }

  predict::Traffic traffic(const predict::TrafficRules& rules) const {
    predict::Traffic traffic(rules);
    for (std::size_t rank = 0; rank < topk.size(); ++rank) {
      layout::TopK table;
      table.idx = topk[rank].data();
      table.k = k;
      table.num_tokens = static_cast<int>(topk[rank].size()) / k;
      table.num_experts = rules.experts.num_experts;
      traffic.add_rank(static_cast<int>(rank), table);
    }
    return traffic;
  }
};

inline predict::TrafficRules rules_of(const predict::LayerCase& layer, const Topology& topology,
                                      int rounds = 1) {
  return {.topology = topology,
          .experts = {layer.shape.experts, topology.num_ranks, rounds},
          .reduce = Reduce::kTokenRank};
}

}  // namespace braid::test
