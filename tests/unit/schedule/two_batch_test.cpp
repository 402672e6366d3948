// Two-batch overlap: programs, stages, how they alternate, and per-expert rounds inside.
#include <gtest/gtest.h>

#include <algorithm>

#include "braid/overlap.hpp"
#include "unit/schedule/listing.hpp"

namespace braid::test {
namespace {

// "a, b | c": the steps of the stages.
std::string stages(const std::string& program, int layers = 1) {
  std::string text;
  for (const Stage& stage : cut_stages(find_program(program), layers)) {
    if (!text.empty()) text += " | ";
    for (std::size_t i = 0; i < stage.steps.size(); ++i) {
      text += (i == 0 ? "" : ", ") + stage.steps[i].name;
    }
  }
  return text;
}

Schedule overlapped(const std::string& program, int layers = 1, int rounds = 1) {
  TwoBatchOptions options;
  options.programs = {find_program(program), find_program(program)};
  options.layers = layers;
  options.rounds = rounds;
  options.device_sms = 132;
  return two_batch_overlap(options);
}

// Steps in the order of starting: "0.2 dispatch_a" is a step of micro-batch 0's stage 2.
Lines steps(const Schedule& schedule) {
  Lines lines;
  for (const Operation& op : schedule.operations) {
    const std::string line = fmt::format("{}.{} {}", op.micro_batch, op.stage, op.name);
    if (lines.empty() || lines.back() != line) lines.push_back(line);
  }
  return lines;
}

TEST(Programs, AreCutAtTheirYields) {
  EXPECT_EQ(stages("deepseek-prefill"),
            "comm_prepare_attn, attn.prepare, attn.core, comm_prepare_mlp, gate, select_experts, "
            "dispatch_a | dispatch_b, experts, combine_a | shared_experts, combine_b, output, "
            "comm_postprocess_layer");
  const std::string decode =
      "comm_prepare_attn, attn.prepare | attn.core, comm_prepare_mlp, gate, select_experts | ";
  EXPECT_EQ(stages("deepseek-decode-yield"),
            decode +
                "dispatch_a, shared_experts | dispatch_b, experts, combine_a | combine_b, "
                "output, comm_postprocess_layer");
  EXPECT_EQ(stages("deepseek-decode"),
            decode +
                "dispatch_a, shared_experts | dispatch_b, experts, combine_a | combine_b | "
                "output, comm_postprocess_layer");
  EXPECT_EQ(stages("qwen3-prefill"),
            "comm_prepare_attn, attn.prepare, attn.core, comm_prepare_mlp, gate, select_experts, "
            "dispatch_a | dispatch_b, experts, combine_a | combine_b, output, "
            "comm_postprocess_layer");
  EXPECT_EQ(stages("qwen3-decode"),
            decode +
                "dispatch_a | dispatch_b, experts, combine_a | combine_b, output, "
                "comm_postprocess_layer");
  EXPECT_EQ(find_program("deepseek-decode").delta_stages, 2);
  EXPECT_EQ(find_program("qwen3-decode").delta_stages, 2);
  EXPECT_EQ(find_program("deepseek-prefill").delta_stages, 0);
  says(refusal([] { find_program("llama"); }), {"llama", "deepseek-decode", "qwen3-prefill"});
}

TEST(Stages, FuseAcrossLayersWhereALayerEndsWithoutAYield) {
  for (const int layers : {1, 2, 7}) {
    EXPECT_EQ(cut_stages(find_program("deepseek-decode"), layers).size(), 5U * layers + 1);
    EXPECT_EQ(cut_stages(find_program("deepseek-decode-yield"), layers).size(), 5U * layers);
    EXPECT_EQ(cut_stages(find_program("qwen3-decode"), layers).size(), 5U * layers);
    EXPECT_EQ(cut_stages(find_program("deepseek-prefill"), layers).size(), 2U * layers + 1);
  }
  const auto two = cut_stages(find_program("deepseek-decode"), 2);
  ASSERT_EQ(two[5].steps.size(), 4U);
  EXPECT_EQ(two[5].steps[0].name, "output");
  EXPECT_EQ(two[5].steps[2].name, "comm_prepare_attn");
  EXPECT_EQ(two[5].layers, (std::vector<int>{0, 0, 1, 1}));
}

TEST(Stages, RefuseAnEmptyOne) {
  Program program = find_program("qwen3-decode");
  program.steps.insert(program.steps.begin() + 3, program.steps[2]);
  ASSERT_EQ(program.steps[2].kind, StepKind::kYield);
  says(refusal([&] { cut_stages(program, 1); }), {"empty stage"});
}

TEST(TwoBatch, AlternatesBehindALead) {
  EXPECT_EQ(alternate_stages(3, 0), (std::vector<int>{0, 1, 0, 1, 0, 1}));
  EXPECT_EQ(alternate_stages(5, 2), (std::vector<int>{0, 0, 0, 1, 0, 1, 0, 1, 1, 1}));
  EXPECT_EQ(alternate_stages(2, 2), (std::vector<int>{0, 0, 1, 1}));
  says(refusal([] { alternate_stages(2, 3); }), {"delta_stages", "3", "2"});
}

TEST(TwoBatch, DecodeStartsStagesInThePublishedOrder) {
  EXPECT_EQ(steps(overlapped("qwen3-decode")), (Lines{"0.0 comm_prepare_attn",
                                                      "0.0 attn.prepare",
                                                      "0.1 attn.core",
                                                      "0.1 comm_prepare_mlp",
                                                      "0.1 gate",
                                                      "0.1 select_experts",
                                                      "0.2 dispatch_a",
                                                      "1.0 comm_prepare_attn",
                                                      "1.0 attn.prepare",
                                                      "0.3 dispatch_b",
                                                      "0.3 experts",
                                                      "0.3 combine_a",
                                                      "1.1 attn.core",
                                                      "1.1 comm_prepare_mlp",
                                                      "1.1 gate",
                                                      "1.1 select_experts",
                                                      "0.4 combine_b",
                                                      "0.4 output",
                                                      "0.4 comm_postprocess_layer",
                                                      "1.2 dispatch_a",
                                                      "1.3 dispatch_b",
                                                      "1.3 experts",
                                                      "1.3 combine_a",
                                                      "1.4 combine_b",
                                                      "1.4 output",
                                                      "1.4 comm_postprocess_layer"}));
}

// Since PR 6711 output and postprocessing run between the other micro-batch's two dispatch steps.
TEST(TwoBatch, TheSplitYieldMovesOutputBetweenTheOthersDispatchSteps) {
  const auto at = [](const Lines& lines, const std::string& line) {
    const auto found = std::find(lines.begin(), lines.end(), line);
    EXPECT_NE(found, lines.end()) << line;
    return found - lines.begin();
  };
  const Lines after = steps(overlapped("deepseek-decode", 2));
  EXPECT_LT(at(after, "1.2 dispatch_a"), at(after, "0.5 output"));
  EXPECT_LT(at(after, "0.5 output"), at(after, "1.3 dispatch_b"));
  const Lines before = steps(overlapped("deepseek-decode-yield", 2));
  EXPECT_LT(at(before, "0.4 output"), at(before, "1.2 dispatch_a"));
}

// Low latency, delta 2: one operation on its way at a time, so one double buffer serves both.
TEST(TwoBatch, DecodeCommunicationIsSerial) {
  for (const char* program : {"deepseek-decode", "deepseek-decode-yield", "qwen3-decode"}) {
    int on_their_way = 0;
    for (const Operation& op : overlapped(program, 3).operations) {
      const auto kind = op.kind;
      if (kind == OperationKind::kDispatchSend || kind == OperationKind::kCombineSend) {
        EXPECT_EQ(on_their_way++, 0) << program;
      }
      if (kind == OperationKind::kDispatchReceive || kind == OperationKind::kCombineReceive) {
        --on_their_way;
      }
    }
    EXPECT_EQ(on_their_way, 0);
  }
}

TEST(TwoBatch, PrefillLaunchesCommunicationInItsSecondStepOnALaneOfItsOwn) {
  const Schedule schedule = overlapped("qwen3-prefill");
  ASSERT_EQ(schedule.lanes.size(), 2U);
  int sent = -1;
  for (std::size_t i = 0; i < schedule.operations.size(); ++i) {
    const Operation& op = schedule.operations[i];
    if (op.kind == OperationKind::kDispatchSend && op.micro_batch == 0) {
      sent = static_cast<int>(i);
      EXPECT_EQ(op.name, "dispatch_b");
      EXPECT_EQ(op.stage, 1);
      EXPECT_EQ(op.lane, 1);
      EXPECT_EQ(op.sms, 20);
    }
    if (op.kind == OperationKind::kUpGemm) {
      EXPECT_EQ(op.sms, 112);
    }
  }
  // It waits for its own dispatch_a alone, so it runs beside the other micro-batch's first stage.
  Lines producers;
  for (const Edge& edge : schedule.edges) {
    if (edge.to == sent) {
      producers.push_back(schedule.operations[static_cast<std::size_t>(edge.from)].name);
    }
  }
  EXPECT_EQ(producers, Lines{"dispatch_a"});
}

TEST(TwoBatch, TakesRoundsInsideItsMicroBatches) {
  const Schedule schedule = overlapped("deepseek-decode", 1, 2);
  Lines lines;
  for (std::size_t i = 0; i < schedule.operations.size(); ++i) {
    const Operation& op = schedule.operations[i];
    if (op.micro_batch == 0 && op.num_rounds > 1) {
      lines.push_back(listing(schedule)[i]);
    }
  }
  EXPECT_EQ(lines, (Lines{"current dispatch_send 0/2 132", "current dispatch_send 1/2 132",
                          "current dispatch_receive 0/2 132", "gemm up_gemm 0/2 112",
                          "gemm activation 0/2 112", "gemm down_gemm 0/2 112",
                          "current dispatch_receive 1/2 20", "gemm up_gemm 1/2 112",
                          "gemm activation 1/2 112", "gemm down_gemm 1/2 112",
                          "current combine_send 0/2 20", "current combine_send 1/2 132"}));
}

TEST(TwoBatch, SequentialProgramIsTheSameStepsOnOneLane) {
  TwoBatchOptions options;
  options.device_sms = 132;
  options.layers = 2;
  const Schedule schedule = sequential_program(find_program("qwen3-decode"), options);
  EXPECT_EQ(schedule.lanes.size(), 1U);
  const Lines lines = listing(schedule);
  ASSERT_EQ(lines.size(), 30U);
  EXPECT_EQ(
      Lines(lines.begin() + 6, lines.begin() + 12),
      (Lines{"current dispatch_send 132", "current dispatch_receive 132", "current up_gemm 132",
             "current activation 132", "current down_gemm 132", "current combine_send 132"}));
  EXPECT_EQ(schedule.operations[14].layer, 0);
  EXPECT_EQ(schedule.operations[15].layer, 1);
}

TEST(TwoBatch, RefusesWhatCantBe) {
  TwoBatchOptions options;
  options.device_sms = 132;
  options.programs = {find_program("qwen3-decode"), find_program("qwen3-prefill")};
  says(refusal([&] { two_batch_overlap(options); }), {"qwen3-decode", "qwen3-prefill", "modes"});
  options.programs = {find_program("qwen3-decode"), find_program("deepseek-decode")};
  says(refusal([&] { two_batch_overlap(options); }), {"5 and 6 stages"});
  options.programs = {find_program("qwen3-prefill"), find_program("qwen3-prefill")};
  options.rounds = 2;
  says(refusal([&] { two_batch_overlap(options); }), {"rounds", "2", "high-throughput"});
  options.rounds = 1;
  options.comm_sms = 132;
  says(refusal([&] { two_batch_overlap(options); }), {"comm_sms", "132", "131"});
}

}  // namespace
}  // namespace braid::test
