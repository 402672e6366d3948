// The event engine, held against times that can be worked out by hand.
#include <gtest/gtest.h>

#include <chrono>

#include "unit/predict/cases.hpp"

namespace braid::test {
namespace {

using predict::LayerCase;
using predict::Played;
using predict::Traffic;
using Kind = OperationKind;

Schedule one_lane(std::initializer_list<Kind> kinds) {
  Schedule schedule;
  schedule.device_sms = 100;
  schedule.lanes = {{"a"}};
  for (const Kind kind : kinds) schedule.operations.push_back({.kind = kind, .sms = 100});
  return schedule;
}

// Every token of every rank goes to one expert of the next rank.
Traffic to_next(const LayerCase& layer, const Topology& topology, int tokens) {
  const auto rules = rules_of(layer, topology);
  Routed routed;
  routed.k = 1;
  for (int rank = 0; rank < topology.num_ranks; ++rank) {
    const int next = (rank + 1) % topology.num_ranks;
    routed.topk.emplace_back(tokens, next * rules.experts.num_local());
  }
  return routed.traffic(rules);
}

double message(const LayerCase& layer) {
  return static_cast<double>(layout::MessageShape::of(layer.dispatch, layer.shape.hidden).bytes(1));
}

TEST(Engine, TheNetworkTakesItsBytesAndALatency) {
  LayerCase layer = plain_layer();
  layer.device.nic_latency_us = 7;
  const std::vector<Traffic> traffic = {to_next(layer, {2, 1}, 1000)};
  const Schedule schedule = one_lane({Kind::kDispatchSend, Kind::kDispatchReceive});
  const Played played = predict::play(layer, schedule, traffic);
  const double wire = 1000 * message(layer) / 10e3;
  EXPECT_NEAR(played.total_us, wire + 7, 1e-6);
  EXPECT_GT(played.at(0, 1).waited_us, 0.9 * wire) << "most of it off the SMs";
}

TEST(Engine, NvlinkPushesKeepTheSms) {
  LayerCase layer = plain_layer();
  layer.device.nvlink_latency_us = 3;
  const std::vector<Traffic> traffic = {to_next(layer, {2, 2}, 1000)};
  const Schedule schedule = one_lane({Kind::kDispatchSend, Kind::kDispatchReceive});
  const Played played = predict::play(layer, schedule, traffic);
  const double push = 1000 * message(layer) / 100e3;
  EXPECT_NEAR(played.at(0, 0).end_us, push, 1e-6);
  // The rows are placed as they come; the copies are done before the last has arrived, or after.
  EXPECT_NEAR(played.total_us, std::max(push + 3, push + 2 * 1000 * message(layer) / 1e6), 1e-6);
}

TEST(Engine, WhatAProtocolAddsCountsOnce) {
  LayerCase layer = plain_layer();
  layer.device.launch_us = 1;
  layer.protocol.dispatch_send_us = 10;
  layer.protocol.dispatch_wire_us = 100;
  layer.protocol.dispatch_receive_us = 1000;
  const auto rules = rules_of(layer, {2, 1});
  const Played played = predict::play(
      layer, one_lane({Kind::kDispatchSend, Kind::kDispatchReceive}), {Traffic(rules)});
  EXPECT_DOUBLE_EQ(played.total_us, 1 + 10 + 100 + 1000);
}

TEST(Engine, EverySlowSenderIsWaitedFor) {
  LayerCase layer = plain_layer();
  const auto rules = rules_of(layer, {4, 1});
  Routed routed;
  routed.k = 1;
  routed.topk.resize(4);
  routed.topk[2].assign(500, 0);  // rank 2 alone has tokens, for rank 0
  const Played played = predict::play(
      layer, one_lane({Kind::kDispatchSend, Kind::kDispatchReceive}), {routed.traffic(rules)});
  const double wire = 500 * message(layer) / 10e3;
  for (int rank = 0; rank < 4; ++rank) EXPECT_NEAR(played.at(rank, 1).end_us, wire, 1e-6) << rank;
}

TEST(Engine, IncastIsBoundByTheReceiversCard) {
  LayerCase layer = plain_layer();
  const auto rules = rules_of(layer, {4, 1});
  Routed routed;
  routed.k = 1;
  routed.topk.resize(4);
  for (int rank = 1; rank < 4; ++rank) routed.topk[static_cast<std::size_t>(rank)].assign(100, 0);
  const Played played = predict::play(
      layer, one_lane({Kind::kDispatchSend, Kind::kDispatchReceive}), {routed.traffic(rules)});
  EXPECT_NEAR(played.at(0, 1).end_us, 300 * message(layer) / 10e3, 1e-6);
}

TEST(Engine, LanesOverlapAndEdgesDont) {
  LayerCase layer = plain_layer();
  const auto rules = rules_of(layer, {1, 1});
  Routed routed;
  routed.topk.emplace_back(2 * 640, 3);
  const std::vector<Traffic> traffic = {routed.traffic(rules)};
  Schedule schedule;
  schedule.device_sms = 100;
  schedule.lanes = {{"a"}, {"b"}};
  for (const int lane : {0, 1}) {
    schedule.operations.push_back({.kind = Kind::kCustom, .name = "x", .lane = lane, .sms = 25});
  }
  const double beside = predict::play(layer, schedule, traffic).total_us;
  schedule.edges.push_back({0, 1});
  EXPECT_NEAR(predict::play(layer, schedule, traffic).total_us, 2 * beside, 1e-9);
}

TEST(Engine, AConsumerOfTilesEndsOneTileBehindItsProducer) {
  LayerCase layer = plain_layer();
  layer.shape.expert_width = 4096;  // the producer is the slower one
  const auto rules = rules_of(layer, {1, 1});
  Routed routed;
  routed.topk.emplace_back(2 * 6400, 3);  // 6400 rows to one expert
  const std::vector<Traffic> traffic = {routed.traffic(rules)};
  Schedule schedule;
  schedule.device_sms = 100;
  schedule.block_rows = 64;
  schedule.lanes = {{"a"}, {"b"}};
  schedule.operations = {{.kind = Kind::kDownGemm, .lane = 0, .sms = 80},
                         {.kind = Kind::kCombineSend, .lane = 1, .sms = 20}};
  schedule.edges = {{0, 1, EdgeKind::kTiles}};
  const Played played = predict::play(layer, schedule, traffic);
  Schedule alone = one_lane({Kind::kCombineSend});
  alone.operations[0].sms = 20;
  const double send = predict::play(layer, alone, traffic).total_us;
  // 100 blocks of rows and 15 experts without any, which count as one each.
  EXPECT_NEAR(played.at(0, 1).end_us - played.at(0, 0).end_us, send / 115, send / 115 * 0.05);
  EXPECT_GT(played.at(0, 1).waited_us, 0);
}

TEST(Engine, ManyRanksTakeNoTime) {
  LayerCase layer = plain_layer();
  layer.shape.experts = 1024;
  const auto rules = rules_of(layer, {256, 8}, 4);
  const std::vector<Traffic> traffic = {Routed::random(rules, 128, 2).traffic(rules)};
  const Schedule schedule =
      per_expert_overlap({.parts = {.device_sms = 100}, .method = 3, .rounds = 4});
  const auto begin = std::chrono::steady_clock::now();
  const Played first = predict::play(layer, schedule, traffic);
  const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - begin;
  EXPECT_LT(taken.count(), 20) << "2 s is the promise; a sanitizer takes ten times as long";
  EXPECT_EQ(predict::play(layer, schedule, traffic).total_us, first.total_us);
}

}  // namespace
}  // namespace braid::test
