// `braid run` on the layers of data/: verified in every combination, and bit-equal where it has to
// be.
#include <gtest/gtest.h>

#include <filesystem>
#include <string>

#include "program.hpp"
#include "support/fp8_checkpoint.hpp"
#include "support/temp_dir.hpp"

namespace braid::test {
namespace {

constexpr const char* kQwen = "qwen3_moe_layer";
constexpr const char* kDeepseek = "deepseek_v3_layer";

std::string sha256_of(const nlohmann::json& report) {
  return report.at("output_sha256").get<std::string>();
}

nlohmann::json verified(const Words& arguments) {
  const nlohmann::json report = report_of(arguments);
  EXPECT_EQ(report.at("verified"), true) << testing::PrintToString(arguments);
  return report;
}

TEST(Run, VerifiesBothLayersWithTheDefaultsOfTheReadme) {
  for (const char* layer : {kQwen, kDeepseek}) {
    const auto report = verified(run_of(layer, {"--ranks", "8", "--ranks-per-node", "4"}));
    EXPECT_EQ(report.at("reference"), "transformers");
  }
}

// Every pair of values of two options occurs.
struct Choice {
  const char* layer;
  Words options;
};
const Choice kPairwise[] = {
    {kQwen,
     {"--fan-out", "per_rank", "--reduce", "token_rank", "--dispatch", "bf16", "--combine", "bf16",
      "--rounds", "1", "--workers", "1"}},
    {kQwen,
     {"--fan-out", "per_expert", "--reduce", "expert_rank", "--dispatch", "fp8", "--combine",
      "logfmt10", "--rounds", "2", "--workers", "1", "--processes"}},
    {kDeepseek,
     {"--fan-out", "per_rank", "--reduce", "expert_rank", "--dispatch", "fp8_pow2", "--combine",
      "bf16", "--rounds", "4", "--workers", "3"}},
    {kDeepseek,
     {"--fan-out", "per_expert", "--reduce", "token_rank", "--dispatch", "fp8_ue8m0", "--combine",
      "logfmt10", "--rounds", "1", "--workers", "3", "--processes"}},
    {kDeepseek,
     {"--fan-out", "per_expert", "--reduce", "expert_rank", "--dispatch", "bf16", "--combine",
      "logfmt10", "--rounds", "4", "--workers", "1"}},
    {kDeepseek,
     {"--fan-out", "per_rank", "--reduce", "token_rank", "--dispatch", "fp8", "--combine", "bf16",
      "--rounds", "2", "--workers", "3", "--processes"}},
    {kQwen,
     {"--fan-out", "per_expert", "--reduce", "token_rank", "--dispatch", "fp8_pow2", "--combine",
      "logfmt10", "--rounds", "2", "--workers", "1"}},
    {kQwen,
     {"--fan-out", "per_rank", "--reduce", "expert_rank", "--dispatch", "fp8_ue8m0", "--combine",
      "bf16", "--rounds", "4", "--workers", "1", "--processes"}},
};

TEST(Run, VerifiesEveryPairOfOptions) {
  for (const Choice& choice : kPairwise) {
    verified(
        run_of(choice.layer, joined({"--ranks", "4", "--ranks-per-node", "2"}, choice.options)));
  }
}

TEST(Run, VerifiesOnAnyNumberOfRanksAndNodes) {
  for (const auto& [ranks, per_node] :
       {std::pair{"1", "1"}, {"2", "1"}, {"4", "4"}, {"8", "2"}, {"16", "8"}, {"32", "32"}}) {
    verified(run_of(kQwen, {"--ranks", ranks, "--ranks-per-node", per_node}));
  }
}

TEST(Run, VerifiesBothLayersInHighThroughput) {
  for (const char* layer : {kQwen, kDeepseek}) {
    for (const char* dispatch : {"bf16", "fp8"}) {
      const Words options = {"--mode", "high_throughput", "--dispatch", dispatch, "--ranks", "8"};
      const auto report = verified(run_of(layer, options));
      EXPECT_EQ(report.at("reference"), "transformers");
      for (const Words& otherwise :
           {Words{"--workers", "3", "--processes"}, Words{"--rows", "expert", "--repeat", "2"}}) {
        const auto other = verified(run_of(layer, joined(options, otherwise)));
        EXPECT_EQ(sha256_of(report), sha256_of(other));
        EXPECT_EQ(report.at("tokens_per_expert"), other.at("tokens_per_expert"));
      }
    }
    verified(run_of(
        layer, {"--mode", "high_throughput", "--ranks", "4", "--tokens", "3", "--repeat", "3"}));
  }
}

TEST(Run, VerifiesTokensThatDontDivideAndRanksWithoutAny) {
  for (const char* tokens : {"1", "7", "13"}) {
    for (const Words& where : {Words{}, Words{"--processes"}}) {
      const auto report = verified(run_of(
          kDeepseek, joined({"--ranks", "8", "--ranks-per-node", "4", "--tokens", tokens}, where)));
      EXPECT_EQ(std::to_string(report.at("tokens").get<int>()), tokens);
    }
  }
}

TEST(Run, GivesTheSameBitsHoweverTheTokensTravel) {
  for (const char* layer : {kQwen, kDeepseek}) {
    const Words base = run_of(layer, {"--ranks", "8", "--ranks-per-node", "4"});
    const std::string expected = sha256_of(verified(base));
    for (const Words& other :
         {Words{"--fan-out", "per_expert"}, Words{"--rounds", "2"},
          Words{"--rounds", "4", "--fan-out", "per_expert"}, Words{"--workers", "3"},
          Words{"--processes"}, Words{"--processes", "--rounds", "4", "--workers", "2"},
          Words{"--scales", "column", "--rounds", "2"}, Words{"--repeat", "3"}}) {
      EXPECT_EQ(sha256_of(verified(joined(base, other))), expected)
          << layer << testing::PrintToString(other);
    }
    // On any number of ranks too, since a row depends on its token and its expert alone.
    EXPECT_EQ(sha256_of(verified(run_of(layer, {"--ranks", "2"}))), expected);
    EXPECT_NE(sha256_of(verified(joined(base, {"--dispatch", "bf16"}))), expected);
  }
}

TEST(Run, VerifiesAnFp8CheckpointAgainstItsOwnDenseReference) {
  const TempDir folder;
  write_fp8_copy(data(kDeepseek), folder.path());
  for (const char* format : {"bf16", "fp8"}) {
    const auto report = verified({"run", "--layer", folder.path().string(), "--ranks", "8",
                                  "--ranks-per-node", "4", "--dispatch", format});
    EXPECT_EQ(report.at("reference"), "dense_f32");
  }
}

TEST(Run, TakesRandomTokensFromTheSeedWhereThereAreNoInputs) {
  const TempDir folder;
  for (const char* file : {"config.json", "model.safetensors"}) {
    std::filesystem::copy_file(data(kQwen) / file, folder / file);
  }
  const Words run = {"run", "--layer", folder.path().string()};
  const auto one = verified(joined(run, {"--seed", "1"}));
  EXPECT_EQ(one.at("tokens"), 64);
  EXPECT_EQ(one.at("reference"), "dense_f32");
  EXPECT_EQ(sha256_of(verified(joined(run, {"--seed", "1"}))), sha256_of(one));
  EXPECT_NE(sha256_of(verified(joined(run, {"--seed", "2"}))), sha256_of(one));
  EXPECT_EQ(verified(joined(run, {"--tokens", "200"})).at("tokens"), 200);
}

}  // namespace
}  // namespace braid::test
