#include <gtest/gtest.h>

#include <string>

#include "program.hpp"

namespace braid::test {
namespace {

bool names(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

TEST(Help, NamesTheCommands) {
  const Ended help = braid({"--help"});
  EXPECT_EQ(help.status, 0);
  EXPECT_EQ(help.err, "");
  for (const char* command : {"run", "bench", "plan", "predict", "tune", "--version"}) {
    EXPECT_TRUE(names(help.out, command)) << command;
  }
}

TEST(Help, OfACommandTellsEveryOptionAndDefault) {
  const Words common = {"--ranks",
                        "--ranks-per-node",
                        "--processes",
                        "--mode",
                        "--rows",
                        "--alignment",
                        "[default: expert; in high_throughput source]",
                        "--path",
                        "--fan-out",
                        "--reduce",
                        "--dispatch",
                        "--scales",
                        "--combine",
                        "--rounds",
                        "--backend",
                        "--workers",
                        "--seed",
                        "--timeout",
                        "--tokens",
                        "--repeat",
                        "--json",
                        "[default: fp8]",
                        "[default: bf16]",
                        "[default: auto]",
                        "[default: token_rank; in high_throughput expert_rank]",
                        "[default: row]",
                        "[default: direct]",
                        "[default: low_latency]"};
  const std::string run = braid({"run", "--help"}).out;
  for (const auto& option :
       joined(common, {"--layer", "--layer-index", "--schedule", "--send-sms", "--recv-sms",
                       "--up-gemm-sms", "--down-gemm-sms", "--block-m", "--comm-sms", "--program",
                       "--delta-stages", "--trace", "--html",
                       "[default: as many as the schedule needs]", "attention, and those that"})) {
    EXPECT_TRUE(names(run, option)) << option;
  }
  const std::string bench = braid({"bench", "--help"}).out;
  for (const auto& option :
       joined(common, {"--hidden", "--experts", "--topk", "--routing", "--devices",
                       "--send-workers", "--receive-workers", "--sets",
                       "--mode high_throughput an operation takes --workers SMs",
                       "given already quantized"})) {
    EXPECT_TRUE(names(bench, option)) << option;
  }
  const std::string plan = braid({"plan", "--help"}).out;
  for (const char* option :
       {"--ranks", "--ranks-per-node", "--experts", "--tokens", "--hidden", "--topk", "--depth",
        "--rounds", "--fan-out", "--dispatch", "--combine-regions", "--few-tokens", "--json"}) {
    EXPECT_TRUE(names(plan, option)) << option;
  }
  const Words predicted = {"--profile", "--protocol", "--shape",  "--nodes",    "--ranks-per-node",
                           "--path",    "--fan-out",  "--reduce", "--dispatch", "--combine",
                           "--routing", "--seed",     "--tokens", "--json"};
  const std::string predict = braid({"predict", "--help"}).out;
  for (const auto& option :
       joined(predicted, {"--schedule", "--rounds", "--send-sms", "--recv-sms", "--up-gemm-sms",
                          "--down-gemm-sms", "--block-m", "--comm-sms", "--program",
                          "--delta-stages", "--layers", "--trace", "--html", "--svg"})) {
    EXPECT_TRUE(names(predict, option)) << option;
  }
  const std::string tune = braid({"tune", "--help"}).out;
  for (const auto& option : joined(predicted, {"--schedules", "--plot"})) {
    EXPECT_TRUE(names(tune, option)) << option;
  }
  EXPECT_FALSE(names(run + bench + plan, "launched")) << "the tool's own flag shows";
}

TEST(Version, IsOneLineOfStandardOutput) {
  const Ended version = braid({"--version"});
  EXPECT_EQ(version.status, 0);
  EXPECT_TRUE(version.out.starts_with("braid "));
  EXPECT_EQ(std::count(version.out.begin(), version.out.end(), '\n'), 1);
}

}  // namespace
}  // namespace braid::test
