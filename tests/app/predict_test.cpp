// `braid predict` and `braid tune` from outside.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "program.hpp"
#include "support/temp_dir.hpp"

namespace braid::test {
namespace {

using Json = nlohmann::json;

const Words kPredict = {"predict", "--tokens", "32"};

std::string refusal(const Words& arguments) {
  const Ended ended = braid(arguments);
  EXPECT_EQ(ended.status, 2) << testing::PrintToString(arguments) << ended.err;
  EXPECT_EQ(ended.out, "");
  EXPECT_EQ(std::count(ended.err.begin(), ended.err.end(), '\n'), 1) << ended.err;
  return ended.err;
}

void expect_says(const std::string& sentence, const Words& parts) {
  for (const std::string& part : parts) {
    EXPECT_NE(sentence.find(part), std::string::npos) << sentence << " has no " << part;
  }
}

// A built-in profile as a file, changed.
std::string changed_profile(const TempDir& folder, const std::string& field, const Json& value) {
  std::ifstream file(data("").parent_path().parent_path() / "profiles/h20.json");
  Json json = Json::parse(file);
  if (value.is_null()) {
    json["numbers"].erase(field);
  } else {
    json["numbers"][field]["value"] = value;
  }
  const auto path = folder.path() / "mine.json";
  std::ofstream(path) << json;
  return path.string();
}

TEST(Predict, ReportsWhatEverySchedulePredicts) {
  for (const char* schedule : {"sequential", "peo-1", "peo-2", "peo-3", "peo-4", "sbo", "tbo"}) {
    const Json report = report_of(joined(kPredict, {"--schedule", schedule}));
    EXPECT_EQ(report.at("schedule"), schedule);
    const Json& time = report.at("time_us");
    for (const char* part : {"total", "dispatch", "experts", "combine"}) {
      EXPECT_GT(time.at(part).get<double>(), 0) << schedule << ' ' << part;
    }
    const double speedup = report.at("speedup_over_sequential");
    EXPECT_NEAR(speedup, time.at("sequential").get<double>() / time.at("total").get<double>(),
                1e-9);
    EXPECT_LE(speedup, report.at("perfect_overlap_bound").get<double>()) << schedule;
    EXPECT_GE(report.at("hidden_fraction").get<double>(), 0);
    EXPECT_LE(report.at("hidden_fraction").get<double>(), 1);
    EXPECT_FALSE(report.at("operations").empty());
  }
}

TEST(Predict, IsTheSameEveryTimeAndFollowsTheSeedOfARandomRouting) {
  const Words words = joined(kPredict, {"--routing", "uniform"});
  const Json first = report_of(words);
  EXPECT_EQ(report_of(words).at("time_us"), first.at("time_us"));
  EXPECT_NE(report_of(joined(words, {"--seed", "2"})).at("time_us"), first.at("time_us"));
}

TEST(Predict, TheLayeredPathSparesTheNetworkBytes) {
  const Words words = {"predict", "--fan-out", "per_expert", "--protocol", "braid"};
  const double direct = report_of(words).at("time_us").at("dispatch_alone");
  const double layered =
      report_of(joined(words, {"--path", "layered"})).at("time_us").at("dispatch_alone");
  EXPECT_LT(layered, 0.7 * direct);
}

// What is published of DeepEP's low-latency kernels on H800, within 10 % at every size, from one
// set of constants: microseconds of dispatch and combine.
TEST(Predict, AgreesWithThePublishedLowLatencyTable) {
  const struct {
    const char* nodes;
    double dispatch, combine;
  } published[] = {{"1", 77, 114}, {"2", 118, 195}, {"4", 155, 273}, {"16", 192, 369}};
  for (const auto& row : published) {
    const Json time =
        report_of({"predict", "--profile", "h800", "--nodes", row.nodes}).at("time_us");
    EXPECT_NEAR(time.at("dispatch_alone").get<double>(), row.dispatch, 0.1 * row.dispatch);
    EXPECT_NEAR(time.at("combine_alone").get<double>(), row.combine, 0.1 * row.combine);
  }
}

TEST(Predict, AHundredsOfRanksAnswerIsThereInTwoSeconds) {
  const Ended ended = braid({"predict", "--nodes", "32", "--schedule", "sbo", "--profile", "h100"});
  EXPECT_EQ(ended.status, 0) << ended.err;
  // A sanitizer takes ten times as long.
  EXPECT_LT(ended.seconds, 20);
}

TEST(Predict, RefusesUnknownNamesWithAListOfWhatThereIs) {
  expect_says(refusal({"predict", "--profile", "b200"}), {"b200", "h100", "h20", "h200", "h800"});
  expect_says(refusal({"predict", "--protocol", "nccl"}), {"nccl", "braid", "deepep_v1"});
  expect_says(refusal({"predict", "--shape", "llama"}), {"llama", "deepseek-v3", "qwen3-235b"});
  expect_says(refusal({"predict", "--schedule", "peo-5"}), {"peo-5", "peo-4", "sbo", "tbo"});
  expect_says(refusal({"predict", "--program", "llama"}), {"--program", "llama", "qwen3-decode"});
  expect_says(refusal({"predict", "--path", "straight"}), {"--path", "straight", "layered"});
  expect_says(refusal({"predict", "--routing", "hot"}), {"--routing", "hot", "balanced", "zipf"});
}

TEST(Predict, RefusesBudgetsRoundsAndTokensThatCantBe) {
  const auto with = [](const Words& words) { return refusal(joined(kPredict, words)); };
  expect_says(with({"--schedule", "peo-1", "--send-sms", "79"}), {"--send-sms", "79", "78"});
  expect_says(with({"--schedule", "peo-1", "--recv-sms", "79"}), {"--recv-sms", "79", "78"});
  expect_says(with({"--schedule", "peo-1", "--up-gemm-sms", "78"}), {"up_gemm", "78"});
  expect_says(with({"--schedule", "peo-2", "--down-gemm-sms", "200"}), {"--down-gemm-sms", "200"});
  expect_says(with({"--schedule", "sbo", "--comm-sms", "78"}), {"comm_sms", "78", "77"});
  expect_says(with({"--schedule", "peo-1", "--rounds", "4", "--send-sms", "1"}),
              {"--send-sms", "1", "deepep_v1", "2", "64 experts"});
  expect_says(with({"--schedule", "peo-1", "--rounds", "4", "--recv-sms", "4"}),
              {"--recv-sms", "4", "deepep_v1", "5", "64 experts"});
  expect_says(with({"--schedule", "peo-1", "--rounds", "3"}), {"rounds", "3", "16"});
  expect_says(with({"--schedule", "peo-1", "--rounds", "1"}), {"rounds", "1", "2"});
  expect_says(with({"--schedule", "sbo", "--reduce", "expert_rank"}), {"token_rank"});
  expect_says(with({"--schedule", "tbo", "--program", "qwen3-prefill", "--rounds", "2"}),
              {"rounds", "2", "high-throughput"});
  expect_says(with({"--schedule", "tbo", "--delta-stages", "99"}), {"delta_stages", "99"});
  expect_says(refusal({"predict", "--tokens", "0"}), {"--tokens", "0"});
  expect_says(refusal({"predict", "--tokens", "2000000000"}), {"--tokens", "2000000000"});
  expect_says(refusal({"predict", "--nodes", "3"}), {"--nodes", "3", "256"});
  expect_says(refusal({"predict", "--nodes", "2000000000", "--ranks-per-node", "8"}), {"--nodes"});
}

TEST(Predict, RefusesProfilesWithMissingOrNegativeFields) {
  const TempDir folder;
  expect_says(refusal({"predict", "--profile", changed_profile(folder, "nic_gbps", nullptr)}),
              {"mine.json", "nic_gbps"});
  expect_says(refusal({"predict", "--profile", changed_profile(folder, "memory_gbps", -4000)}),
              {"mine.json", "memory_gbps", "-4000"});
  expect_says(refusal({"predict", "--profile", (folder.path() / "none.json").string()}),
              {"none.json", "can't be read"});
}

TEST(Predict, WritesTracePageAndDrawingOfBothSchedules) {
  const TempDir folder;
  const auto path = [&](const char* name) { return (folder.path() / name).string(); };
  const Ended ended = braid(joined(kPredict, {"--schedule", "peo-3", "--trace", path("a.json"),
                                              "--html", path("a.html"), "--svg", path("a.svg")}));
  EXPECT_EQ(ended.status, 0) << ended.err;
  const auto text = [&](const char* name) {
    std::ifstream file(path(name));
    return std::string{std::istreambuf_iterator<char>(file), {}};
  };
  const Json trace = Json::parse(text("a.json"));
  std::vector<std::string> processes;
  for (const Json& event : trace.at("traceEvents")) {
    if (event.at("name") == "process_name") processes.push_back(event.at("args").at("name"));
  }
  ASSERT_EQ(processes.size(), 2U);
  EXPECT_TRUE(processes[0].starts_with("sequential"));
  EXPECT_TRUE(processes[1].starts_with("peo-3"));
  expect_says(text("a.html"), {"<!DOCTYPE html>", "dispatch_receive 3/4"});
  expect_says(text("a.svg"), {"<svg", "sequential", "peo-3"});
  expect_says(refusal(joined(kPredict, {"--html", "/nowhere/a.html"})), {"--html", "/nowhere"});
}

TEST(Predict, TakesAProfileOfAFile) {
  const TempDir folder;
  const Words words = {"predict", "--profile", changed_profile(folder, "nic_gbps", 500)};
  EXPECT_LT(report_of(words).at("time_us").at("combine_alone").get<double>(),
            report_of({"predict"}).at("time_us").at("combine_alone").get<double>());
}

TEST(Tune, FindsTheBestOfWhatPredictSays) {
  const TempDir folder;
  const std::string plot = (folder.path() / "plot.svg").string();
  const Words words = {"tune", "--tokens", "16,128", "--schedules", "peo-2,sbo", "--plot", plot};
  const Json report = report_of(words);
  ASSERT_EQ(report.at("batches").size(), 2U);
  for (const Json& batch : report.at("batches")) {
    const Json& best = batch.at("best");
    for (const Json& other : batch.at("best_of_each_schedule")) {
      EXPECT_GE(best.at("saved_us").get<double>(), other.at("saved_us").get<double>());
    }
    const std::string schedule = best.at("schedule");
    const auto number = [](const Json& value) { return std::to_string(value.get<int>()); };
    const Json predicted = report_of(
        {"predict", "--tokens", number(batch.at("tokens")), "--schedule", schedule, "--rounds",
         number(best.at("rounds")), "--send-sms", number(best.at("send_sms")), "--recv-sms",
         number(best.at("recv_sms")), "--comm-sms", number(best.at("comm_sms"))});
    EXPECT_EQ(predicted.at("time_us").at("total"), best.at("total_us"));
  }
  std::ifstream file(plot);
  const std::string svg{std::istreambuf_iterator<char>(file), {}};
  EXPECT_TRUE(svg.starts_with("<svg"));
  expect_says(svg, {"polyline", ">128<", "</svg>"});
}

TEST(Tune, ShowsItsProgressOnStandardError) {
  const Ended ended = braid({"tune", "--tokens", "4", "--schedules", "sbo"});
  EXPECT_EQ(ended.status, 0);
  expect_says(ended.err, {"0 %", "4 tokens, sbo"});
  expect_says(ended.out, {"sbo", "speedup", "bound"});
}

TEST(Tune, RefusesWhatItCantSearch) {
  expect_says(refusal({"tune", "--schedules", "best"}), {"best", "peo-1"});
  expect_says(refusal({"tune", "--tokens", "4,,8"}), {"--tokens"});
  expect_says(refusal({"tune", "--tokens", "0"}), {"--tokens", "0"});
  expect_says(refusal({"tune", "--plot", "/nowhere/plot.svg"}), {"--plot", "/nowhere/plot.svg"});
}

}  // namespace
}  // namespace braid::test
