#include <gtest/gtest.h>

#include <numeric>
#include <string>

#include "program.hpp"

namespace braid::test {
namespace {

const Words kBench = {"bench", "--ranks",   "4",  "--ranks-per-node", "2", "--hidden",
                      "256",   "--experts", "16", "--topk",           "4", "--tokens",
                      "9",     "--repeat",  "3"};

nlohmann::json verified(const Words& more) {
  const nlohmann::json report = report_of(joined(kBench, more));
  EXPECT_EQ(report.at("verified"), true) << testing::PrintToString(more);
  return report;
}

TEST(Bench, ChecksEveryFormat) {
  for (const char* dispatch : {"bf16", "fp8", "fp8_pow2", "fp8_ue8m0"}) {
    for (const char* combine : {"bf16", "logfmt10"}) {
      for (const char* scales : {"row", "column"}) {
        const auto report =
            verified({"--dispatch", dispatch, "--combine", combine, "--scales", scales});
        EXPECT_EQ(report.at("scales"), scales);
      }
    }
  }
}

TEST(Bench, ChecksFanOutReduceRoundsWorkersAndProcesses) {
  verified({"--fan-out", "per_expert", "--reduce", "expert_rank", "--rounds", "2"});
  verified({"--reduce", "expert_rank", "--workers", "2", "--processes"});
  verified({"--fan-out", "per_expert", "--rounds", "4", "--workers", "3", "--processes"});
  verified({"--send-workers", "2", "--receive-workers", "0"});
}

TEST(Bench, GivesTheSameBitsInHighThroughput) {
  for (const char* dispatch : {"bf16", "fp8"}) {
    for (const Words& more : {Words{"--workers", "1"}, Words{"--workers", "3", "--processes"}}) {
      const Words options = joined({"bench", "--ranks", "4", "--hidden", "256", "--experts", "16",
                                    "--topk", "4", "--tokens", "70", "--repeat", "3"},
                                   joined({"--dispatch", dispatch}, more));
      const auto high = report_of(joined(options, {"--mode", "high_throughput"}));
      EXPECT_EQ(high.at("verified"), true);
      EXPECT_EQ(high.at("mode"), "high_throughput");
      EXPECT_EQ(high.at("reduce"), "expert_rank");
      EXPECT_GT(high.at("layout_us").at("p50").get<double>(), 0.0);
      const auto low = report_of(joined(options, {"--reduce", "expert_rank"}));
      const auto by_expert = report_of(
          joined(options, {"--mode", "high_throughput", "--rows", "expert", "--alignment", "16"}));
      EXPECT_EQ(by_expert.at("verified"), true);
      EXPECT_EQ(by_expert.at("rows"), "expert");
      EXPECT_EQ(by_expert.at("alignment"), 16);
      EXPECT_EQ(by_expert.at("comparisons").back().at("name"), "sent_rows");
      for (const char* same : {"output_sha256", "tokens_per_expert"}) {
        EXPECT_EQ(high.at(same), low.at(same));
        EXPECT_EQ(high.at(same), by_expert.at(same));
      }
      EXPECT_EQ(high.at("messages").at("scale_up"), low.at("messages").at("scale_up"));
    }
  }
}

TEST(Bench, ShowsThatLogFmtSendsFewerBytes) {
  const auto bytes = [](const nlohmann::json& report) {
    return report.at("bytes").at("scale_out_combine").get<std::uint64_t>();
  };
  EXPECT_LT(bytes(verified({"--combine", "logfmt10"})), bytes(verified({})) * 3 / 4);
}

// How many times more rows the busiest expert has than the idlest.
double imbalance(const std::string& routing) {
  const auto report =
      report_of({"bench", "--ranks", "4", "--hidden", "256", "--experts", "16", "--topk", "4",
                 "--tokens", "128", "--repeat", "1", "--routing", routing});
  const auto rows = report.at("tokens_per_expert").get<std::vector<int>>();
  EXPECT_EQ(std::accumulate(rows.begin(), rows.end(), 0), 4 * 128 * 4);
  const auto [least, most] = std::minmax_element(rows.begin(), rows.end());
  return static_cast<double>(*most) / std::max(*least, 1);
}

TEST(Bench, LoadsExpertsAsTheRoutingSays) {
  EXPECT_LT(imbalance("uniform"), 2.0);
  EXPECT_GT(imbalance("zipf"), 3.0);
}

TEST(Bench, ReplaysARecordedRouting) {
  const auto file = (data("qwen3_moe_layer") / "expected.safetensors").string();
  const auto report = report_of({"bench", "--ranks", "4", "--hidden", "256", "--experts", "32",
                                 "--tokens", "30", "--repeat", "2", "--routing", file});
  EXPECT_EQ(report.at("verified"), true);
  EXPECT_EQ(report.at("topk"), 8);
  const auto rows = report.at("tokens_per_expert").get<std::vector<int>>();
  EXPECT_EQ(std::accumulate(rows.begin(), rows.end(), 0), 4 * 30 * 8);
}

TEST(Bench, IsATableForPeople) {
  const Ended ended = braid(kBench);
  EXPECT_EQ(ended.status, 0);
  for (const char* part : {"p50", "p99", "max", "GB/s", "dispatch", "combine", "\nVERIFIED\n"}) {
    EXPECT_NE(ended.out.find(part), std::string::npos) << part;
  }
}

}  // namespace
}  // namespace braid::test
