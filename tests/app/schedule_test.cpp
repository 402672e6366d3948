// `braid run --schedule`: every method verified and bit-equal to the layer without overlap, its
// timelines, and what is refused.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <set>
#include <string>

#include "program.hpp"
#include "support/temp_dir.hpp"

namespace braid::test {
namespace {

constexpr const char* kQwen = "qwen3_moe_layer";
constexpr const char* kDeepseek = "deepseek_v3_layer";
const Words kRanks = {"--ranks", "8", "--ranks-per-node", "4"};

std::string text_of(const std::filesystem::path& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

nlohmann::json run_method(const char* layer, const std::string& method, const Words& more = {}) {
  const auto report =
      report_of(joined(run_of(layer, joined(kRanks, {"--schedule", method})), more));
  EXPECT_EQ(report.at("verified"), true) << method;
  EXPECT_EQ(report.at("schedule"), method);
  return report;
}

TEST(Schedules, AreVerifiedAndBitEqualToSequential) {
  for (const char* layer : {kQwen, kDeepseek}) {
    const auto plain = run_method(layer, "sequential");
    EXPECT_FALSE(plain.contains("equals_sequential"));
    for (const char* method : {"peo-1", "peo-2", "peo-3", "peo-4", "sbo", "tbo"}) {
      const auto report = run_method(layer, method);
      EXPECT_EQ(report.at("equals_sequential"), true) << method;
      EXPECT_EQ(report.at("output_sha256"), plain.at("output_sha256")) << method;
      EXPECT_EQ(report.at("tokens_per_expert"), plain.at("tokens_per_expert")) << method;
      EXPECT_GT(report.at("sequential_time_us").at("total"), 0) << method;
    }
  }
}

TEST(Schedules, RunInProcessesAndWithOtherFormats) {
  const Words otherwise = {"--processes", "--dispatch", "bf16", "--combine", "logfmt10"};
  for (const char* method : {"peo-3", "sbo", "tbo"}) {
    EXPECT_EQ(run_method(kDeepseek, method, otherwise).at("equals_sequential"), true) << method;
  }
}

TEST(Schedules, RunWithTokensThatDontSplitAndRanksWithoutAny) {
  for (const char* tokens : {"1", "9", "17"}) {
    const auto report = run_method(kDeepseek, "tbo", {"--tokens", tokens, "--rounds", "2"});
    EXPECT_EQ(report.at("equals_sequential"), true);
    EXPECT_EQ(report.at("two_batches"), true);
  }
  run_method(kQwen, "sbo", {"--tokens", "3"});
}

// A row is then rounded once more for each round that it is summed in.
TEST(Schedules, AreVerifiedWithSumsAtTheExpertsRankToo) {
  const Words reduce = {"--reduce", "expert_rank"};
  EXPECT_EQ(run_method(kDeepseek, "peo-2", reduce).at("equals_sequential"), false);
  EXPECT_EQ(run_method(kDeepseek, "tbo", reduce).at("equals_sequential"), true);
}

TEST(Schedules, TakeBudgets) {
  const auto report = run_method(kQwen, "peo-3",
                                 {"--rounds", "2", "--workers", "6", "--send-sms", "2",
                                  "--recv-sms", "2", "--up-gemm-sms", "2", "--down-gemm-sms", "1"});
  EXPECT_EQ(report.at("workers"), 6);
  EXPECT_EQ(report.at("rounds"), 2);
  run_method(kDeepseek, "sbo", {"--workers", "4", "--comm-sms", "2", "--block-m", "16"});
  run_method(kDeepseek, "tbo", {"--program", "deepseek-decode-yield", "--delta-stages", "0"});
}

TEST(Schedules, AreMethodOneWhereRoundsAreAskedForAndElseSequential) {
  EXPECT_EQ(report_of(run_of(kQwen, kRanks)).at("schedule"), "sequential");
  const auto rounds = report_of(run_of(kQwen, joined(kRanks, {"--rounds", "2"})));
  EXPECT_EQ(rounds.at("schedule"), "peo-1");
  EXPECT_EQ(rounds.at("equals_sequential"), true);
}

TEST(Schedules, WriteTimelinesOfBothRuns) {
  const TempDir folder;
  for (const Words& where : {Words{}, Words{"--processes"}}) {
    const auto trace = folder / "trace.json", page = folder / "page.html";
    run_method(kDeepseek, "sbo",
               joined({"--trace", trace.string(), "--html", page.string()}, where));
    std::set<std::string> processes, lanes;
    int events = 0;
    const auto parsed = nlohmann::json::parse(text_of(trace));
    for (const auto& event : parsed.at("traceEvents")) {
      const std::string name = event.at("name");
      if (name == "process_name") processes.insert(event.at("args").at("name"));
      if (name == "thread_name") lanes.insert(event.at("args").at("name"));
      if (event.at("ph") != "X") continue;
      ++events;
      EXPECT_GE(event.at("dur"), 0) << name;
    }
    ASSERT_EQ(processes.size(), 2U);
    EXPECT_TRUE(processes.begin()->starts_with("sbo"));
    EXPECT_EQ(lanes, (std::set<std::string>{"comm", "current"}));
    EXPECT_EQ(events, 2 * 9) << "gate to combine_receive, with a shared expert";
    EXPECT_NE(text_of(page).find("down_gemm"), std::string::npos);
    std::filesystem::remove(trace);
    std::filesystem::remove(page);
  }
}

TEST(Schedules, ThatCantBeAreRefusedWithASentence) {
  const struct {
    Words options;
    const char* sentence;
  } all[] = {
      {{"--schedule", "nope"}, "must be one of sequential|peo-1|peo-2|peo-3|peo-4|sbo|tbo"},
      {{"--schedule", "peo-1", "--workers", "1"},
       "--workers is 1, but --schedule peo-1 overlaps what takes 2 workers"},
      {{"--schedule", "peo-2", "--rounds", "1"}, "rounds is 1, but per-expert overlap needs"},
      {{"--schedule", "peo-2", "--rounds", "3"}, "--rounds is 3, but must divide the 4 experts"},
      {{"--schedule", "peo-4", "--send-sms", "5", "--workers", "9", "--recv-sms", "10"},
       "--workers is 9, but --schedule peo-4 overlaps what takes 11 workers"},
      {{"--schedule", "sbo", "--rounds", "2"}, "--rounds is 2, but --schedule sbo has one"},
      {{"--schedule", "sbo", "--block-m", "40"}, "--block-m is 40, but the experts"},
      {{"--schedule", "sbo", "--reduce", "expert_rank"}, "block signals need token_rank"},
      {{"--schedule", "tbo", "--program", "deepseek-prefill"},
       "deepseek-prefill, which communicates in high throughput"},
      {{"--schedule", "tbo", "--program", "qwen3-decode"}, "which has no shared expert"},
      {{"--schedule", "tbo", "--delta-stages", "9"}, "delta_stages is 9, but must be from 0 to"},
      {{"--schedule", "peo-1", "--mode", "high_throughput", "--ranks-per-node", "8"},
       "--mode high_throughput runs sequential only"},
      {{"--schedule", "sbo", "--send-sms", "5"},
       "--send-sms is 5, but --schedule sbo doesn't take it"},
      {{"--schedule", "sbo", "--comm-sms", "2147483647"},
       "--comm-sms is 2147483647, but must be at most 1024"},
      {{"--trace", "-"}, "--trace is '-', but only --json goes to"},
      {{"--trace", "t.json", "--html", "t.json"}, "--trace and --html both name 't.json'"},
      {{"--trace", "t.json", "--mode", "high_throughput", "--ranks-per-node", "8"},
       "runs without a schedule"},
  };
  for (const auto& one : all) {
    const Ended ended = braid(joined(run_of(kDeepseek, {"--ranks", "8"}), one.options));
    EXPECT_EQ(ended.status, 2) << testing::PrintToString(one.options);
    EXPECT_NE(ended.err.find(one.sentence), std::string::npos) << ended.err;
    EXPECT_EQ(ended.out, "");
  }
}

}  // namespace
}  // namespace braid::test
