// Every promise that validate() makes, broken once.
#include <gtest/gtest.h>

#include "braid/overlap.hpp"
#include "unit/schedule/listing.hpp"

namespace braid::test {
namespace {

using Kind = OperationKind;

// Two lanes, a whole layer on the first.
Schedule layer() {
  Schedule schedule = sequential({.device_sms = 100});
  schedule.lanes.push_back({"other"});
  return schedule;
}

int find(const Schedule& schedule, Kind kind, int round = 0) {
  for (std::size_t i = 0; i < schedule.operations.size(); ++i) {
    const Operation& op = schedule.operations[i];
    if (op.kind == kind && op.round == round) return static_cast<int>(i);
  }
  ADD_FAILURE() << to_string(kind);
  return 0;
}

Operation& at(Schedule& schedule, Kind kind, int round = 0) {
  return schedule.operations[static_cast<std::size_t>(find(schedule, kind, round))];
}

std::string refused(const Schedule& schedule) {
  return refusal([&] { validate(schedule); });
}

TEST(Validate, AcceptsALayer) { EXPECT_EQ(refused(layer()), "accepted"); }

TEST(Validate, NamesACircleOperationByOperation) {
  Schedule schedule = layer();
  schedule.edges.push_back({find(schedule, Kind::kDownGemm), find(schedule, Kind::kUpGemm)});
  EXPECT_EQ(refused(schedule),
            "operations wait for each other in a circle: up_gemm waits for down_gemm waits for "
            "activation waits for up_gemm");
}

TEST(Validate, WantsASendForEveryReceive) {
  Schedule schedule = layer();
  schedule.operations.erase(schedule.operations.begin() + find(schedule, Kind::kDispatchSend));
  says(refused(schedule), {"dispatch_receive has no dispatch_send"});

  schedule = per_expert_overlap({.parts = {.device_sms = 100}, .rounds = 4});
  at(schedule, Kind::kCombineSend, 2).micro_batch = 1;
  says(refused(schedule), {"combine_receive", "4 rounds of combine_send", "3 are there"});
}

TEST(Validate, WantsResultsOrderedBehindWhatMakesThem) {
  Schedule schedule = layer();
  at(schedule, Kind::kDownGemm).lane = 1;
  says(refused(schedule), {"down_gemm is not ordered behind activation"});

  // Method 4 as published: the GEMMs' events are recorded, but no combine send waits for them.
  schedule = per_expert_overlap({.parts = {.device_sms = 100}, .method = 4, .rounds = 2});
  std::erase_if(schedule.edges,
                [&](const Edge& edge) { return edge.to == find(schedule, Kind::kCombineSend, 1); });
  says(refused(schedule), {"combine_send 1/2 is not ordered behind down_gemm 1/2"});
}

TEST(Validate, WantsRoundsInOrder) {
  Schedule schedule = per_expert_overlap({.parts = {.device_sms = 100}, .method = 1, .rounds = 2});
  std::swap(at(schedule, Kind::kDispatchSend, 0).round, at(schedule, Kind::kDispatchSend, 1).round);
  says(refused(schedule), {"rounds out of order", "dispatch_send 0/2", "dispatch_send 1/2"});
  schedule = per_expert_overlap({.parts = {.device_sms = 100}, .method = 1, .rounds = 2});
  at(schedule, Kind::kDispatchSend, 1).round = 0;
  says(refused(schedule), {"dispatch_send"});
  at(schedule, Kind::kDispatchSend, 0).round = 2;
  says(refused(schedule), {"round 2 of 2"});
}

TEST(Validate, HoldsBudgetsAgainstLanesAndTheDevice) {
  Schedule schedule = layer();
  at(schedule, Kind::kUpGemm).sms = 101;
  says(refused(schedule), {"up_gemm takes 101 SMs", "the device has 100"});
  schedule = layer();
  schedule.lanes[0].sms = 60;
  says(refused(schedule), {"gate takes 100 SMs", "lane current has 60"});
}

TEST(Validate, AddsUpWhatCanRunAtOnce) {
  Schedule schedule = layer();
  schedule.operations.push_back({.kind = Kind::kSharedExpert, .lane = 1, .sms = 1});
  says(refused(schedule), {"gate (100 SMs) and shared_expert (1 SMs) can run at once", "101"});
  // What takes only what is free holds nothing.
  schedule.operations.back().sms = 0;
  EXPECT_EQ(refused(schedule), "accepted");
  // Behind everything else it is alone.
  schedule.operations.back().sms = 100;
  schedule.edges.push_back(
      {find(schedule, Kind::kCombineReceive), find(schedule, Kind::kSharedExpert)});
  EXPECT_EQ(refused(schedule), "accepted");
}

TEST(Validate, FindsTheOverCommitmentOfSendsThatKeepTheDevice) {
  // Method 2 as first published: later sends keep D beside a running GEMM.
  Schedule schedule = per_expert_overlap({.parts = {.device_sms = 100}, .method = 2});
  at(schedule, Kind::kDispatchSend, 1).sms = 100;
  says(refused(schedule), {"dispatch_send 1/2 (100 SMs)", "up_gemm 0/2 (84 SMs)", "184"});
}

TEST(Validate, RefusesAConsumerThatCouldStarveItsProducer) {
  Schedule schedule = single_batch_overlap({.parts = {.device_sms = 100}});
  at(schedule, Kind::kDownGemm).sms = 98;
  says(refused(schedule), {"combine_send spins on 3 SMs", "down_gemm", "98", "starve", "100"});
  at(schedule, Kind::kDownGemm).sms = 0;
  says(refused(schedule), {"both need a budget"});
}

TEST(Validate, RefusesARoundOfExpertsThatIsComputedTwice) {
  Schedule schedule = layer();
  for (const Kind kind : {Kind::kUpGemm, Kind::kActivation, Kind::kDownGemm}) {
    at(schedule, kind).num_rounds = 2;
    Operation again = at(schedule, kind);
    again.round = kind == Kind::kDownGemm ? 0 : 1;
    schedule.operations.insert(schedule.operations.begin() + find(schedule, kind) + 1, again);
  }
  says(refused(schedule), {"the same round twice", "down_gemm 0/2"});
}

TEST(Validate, RefusesWhatIsOutOfRange) {
  Schedule schedule = layer();
  schedule.edges.push_back({0, 99});
  says(refused(schedule), {"operation 99"});
  schedule = layer();
  schedule.operations[0].lane = 2;
  says(refused(schedule), {"lane 2", "2 lanes"});
  schedule = layer();
  schedule.operations.push_back({});
  says(refused(schedule), {"without a name"});
  schedule = layer();
  schedule.operations[0].sms = -1;
  says(refused(schedule), {"-1"});
}

TEST(StartOrder, PutsWhatIsWaitedForFirst) {
  Schedule schedule;
  schedule.device_sms = 1;
  schedule.lanes = {{"a"}, {"b"}};
  for (const int lane : {0, 0, 1}) {
    schedule.operations.push_back({.name = "x", .lane = lane});
  }
  schedule.edges.push_back({2, 0});
  EXPECT_EQ(start_order(schedule), (std::vector<int>{2, 0, 1}));
}

}  // namespace
}  // namespace braid::test
