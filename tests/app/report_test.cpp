// What a --json report holds, and that its figures agree with each other and with what was asked.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <numeric>
#include <string>

#include "program.hpp"
#include "support/temp_dir.hpp"

namespace braid::test {
namespace {

using Json = nlohmann::json;

constexpr const char* kQwen = "qwen3_moe_layer";

void expect_counts(const Json& report, const char* name) {
  const Json& counts = report.at(name);
  for (const std::string link : {"scale_up", "scale_out", "local"}) {
    for (const char* ending : {"", "_dispatch", "_combine"}) {
      const std::string part = link + ending;
      ASSERT_TRUE(counts.at(part).is_number_unsigned()) << part;
    }
    EXPECT_EQ(counts.at(link).get<std::uint64_t>(),
              counts.at(link + "_dispatch").get<std::uint64_t>() +
                  counts.at(link + "_combine").get<std::uint64_t>())
        << link;
  }
}

void expect_common_fields(const Json& report) {
  for (const char* name : {"reference", "mode", "path", "fan_out", "fan_out_requested", "reduce",
                           "dispatch", "scales", "combine", "output_sha256"}) {
    EXPECT_TRUE(report.at(name).is_string()) << name;
  }
  for (const char* name : {"ranks", "ranks_per_node", "rounds", "workers", "tokens", "seed"}) {
    EXPECT_TRUE(report.at(name).is_number_integer()) << name;
  }
  EXPECT_TRUE(report.at("verified").is_boolean());
  EXPECT_TRUE(report.at("diff").is_number());
  for (const char* name : {"total", "dispatch", "experts", "combine"}) {
    EXPECT_TRUE(report.at("time_us").at(name).is_number()) << name;
  }
  EXPECT_GT(report.at("time_us").at("dispatch").get<double>(), 0.0);
  EXPECT_GT(report.at("time_us").at("combine").get<double>(), 0.0);
  EXPECT_EQ(report.at("output_sha256").get<std::string>().size(), 64U);
  for (const char* name : {"version", "compiler", "type"}) {
    EXPECT_TRUE(report.at("build").at(name).is_string()) << name;
  }
  expect_counts(report, "bytes");
  expect_counts(report, "messages");
  for (const Json& comparison : report.at("comparisons")) {
    EXPECT_TRUE(comparison.at("name").is_string());
    EXPECT_LE(comparison.at("diff").get<double>(), comparison.at("limit").get<double>());
    EXPECT_EQ(comparison.at("holds"), true);
  }
}

TEST(Report, OfARunHoldsEveryField) {
  const Json report =
      report_of(run_of(kQwen, {"--ranks", "8", "--ranks-per-node", "4", "--repeat", "3"}));
  expect_common_fields(report);
  EXPECT_EQ(report["verified"], true);
  EXPECT_EQ(report["reference"], "transformers");
  EXPECT_EQ(report["diff"], report["comparisons"][0]["diff"]);
  EXPECT_EQ(report["ranks"], 8);
  EXPECT_EQ(report["ranks_per_node"], 4);
  EXPECT_EQ(report["mode"], "low_latency");
  EXPECT_EQ(report["path"], "direct");
  EXPECT_EQ(report["fan_out"], "per_rank");
  EXPECT_EQ(report["fan_out_requested"], "auto");
  EXPECT_EQ(report["reduce"], "token_rank");
  EXPECT_EQ(report["dispatch"], "fp8");
  EXPECT_EQ(report["scales"], "row");
  EXPECT_EQ(report["combine"], "bf16");
  EXPECT_EQ(report["rounds"], 1);
  EXPECT_EQ(report["tokens"], 96);
  EXPECT_EQ(report["comparisons"].size(), 2U);  // FP8: also against the rounded tokens
  const auto per_expert = report.at("tokens_per_expert").get<std::vector<int>>();
  EXPECT_EQ(per_expert.size(), 32U);
  // The layer's routers name eight different experts a token.
  EXPECT_EQ(std::accumulate(per_expert.begin(), per_expert.end(), 0), 96 * 8);
  const Json& time = report["time_us"];
  EXPECT_GE(time["total"].get<double>(), time["experts"].get<double>());
}

TEST(Report, OfABenchHoldsEveryField) {
  const Json report =
      report_of({"bench", "--ranks", "4", "--ranks-per-node", "2", "--hidden", "256", "--experts",
                 "16", "--topk", "4", "--tokens", "8", "--repeat", "20"});
  expect_common_fields(report);
  EXPECT_EQ(report["reference"], "weighted_sum");
  for (const char* operation : {"dispatch_us", "combine_us"}) {
    const Json& latency = report.at(operation);
    EXPECT_GT(latency["p50"].get<double>(), 0.0);
    EXPECT_LE(latency["p50"].get<double>(), latency["p99"].get<double>());
    EXPECT_LE(latency["p99"].get<double>(), latency["max"].get<double>());
    EXPECT_GT(latency["gigabytes_per_second"].get<double>(), 0.0);
  }
}

std::uint64_t count(const Json& report, const char* what, const char* part) {
  return report.at(what).at(part).get<std::uint64_t>();
}

TEST(Report, CountsMessagesOfOneOperationHoweverOftenItRan) {
  const Words options = {"--ranks", "8", "--ranks-per-node", "4", "--fan-out", "per_expert"};
  const Json once = report_of(run_of(kQwen, options));
  const Json often = report_of(run_of(kQwen, joined(options, {"--repeat", "4"})));
  EXPECT_EQ(once["messages"], often["messages"]);
  EXPECT_EQ(once["bytes"], often["bytes"]);
  // One copy a route, and with token_rank one row a route back: 96 tokens of top-8.
  for (const std::string operation : {"_dispatch", "_combine"}) {
    std::uint64_t messages = 0;
    for (const std::string link : {"scale_up", "scale_out", "local"}) {
      messages += count(once, "messages", (link + operation).c_str());
    }
    EXPECT_EQ(messages, 96U * 8U) << operation;
  }
}

TEST(Report, ShowsThatOneCopyARankIsFewerBytesAndOneNodeHasNoneBetweenNodes) {
  const Words two_nodes = {"--ranks", "8", "--ranks-per-node", "4"};
  const Json per_rank = report_of(run_of(kQwen, two_nodes));
  const Json per_expert = report_of(run_of(kQwen, joined(two_nodes, {"--fan-out", "per_expert"})));
  EXPECT_LT(count(per_rank, "bytes", "scale_out_dispatch"),
            count(per_expert, "bytes", "scale_out_dispatch"));
  const Json one_node = report_of(run_of(kQwen, {"--ranks", "8"}));
  EXPECT_EQ(one_node["ranks_per_node"], 8);
  EXPECT_EQ(count(one_node, "bytes", "scale_out"), 0U);
  EXPECT_GT(count(one_node, "bytes", "scale_up"), 0U);
  const Json one_rank = report_of(run_of(kQwen, {"--ranks", "1"}));
  EXPECT_EQ(count(one_rank, "bytes", "scale_up"), 0U);
  EXPECT_GT(count(one_rank, "bytes", "local"), 0U);
}

TEST(Report, GoesToItsFileAndTheTableToStandardOutput) {
  const TempDir folder;
  const auto file = folder / "report.json";
  std::ofstream(file) << std::string(100000, 'x');  // an older, longer one
  const Ended ended = braid(run_of(kQwen, {"--json", file.string()}));
  EXPECT_EQ(ended.status, 0);
  EXPECT_EQ(ended.err, "");
  for (const char* part : {"gate", "dispatch", "experts", "combine", "total", "inside nodes",
                           "between nodes", "tokens per expert", "transformers", "\nVERIFIED\n"}) {
    EXPECT_NE(ended.out.find(part), std::string::npos) << part;
  }
  std::ifstream stream(file);
  EXPECT_EQ(Json::parse(stream).at("verified"), true);
}

TEST(Report, ThatTheDiskRefusesIsAFailedRun) {
  const Ended ended = braid(run_of(kQwen, {"--json", "/dev/full"}));
  EXPECT_EQ(ended.status, 1);
  EXPECT_NE(ended.err.find("/dev/full"), std::string::npos) << ended.err;
}

}  // namespace
}  // namespace braid::test
