#include <gtest/gtest.h>

#include "program.hpp"

namespace braid::test {
namespace {

const Words kPlan = {"plan", "--ranks",  "8",  "--ranks-per-node", "4",   "--experts",
                     "32",   "--tokens", "16", "--hidden",         "256", "--topk",
                     "8"};

TEST(Plan, AccountsForEveryByteInAddressOrder) {
  const auto plan = report_of(joined(kPlan, {"--rounds", "2", "--depth", "3"}));
  for (const char* part : {"symmetric", "local"}) {
    const std::uint64_t total = plan.at(std::string(part) + "_bytes").get<std::uint64_t>();
    std::uint64_t end = 0;
    ASSERT_FALSE(plan.at(part).empty());
    for (const auto& region : plan.at(part)) {
      EXPECT_GE(region.at("offset").get<std::uint64_t>(), end) << region;
      EXPECT_GT(region.at("bytes").get<std::uint64_t>(), 0U) << region;
      EXPECT_FALSE(region.at("purpose").get<std::string>().empty());
      end = region.at("offset").get<std::uint64_t>() + region.at("bytes").get<std::uint64_t>();
    }
    EXPECT_LE(end, total);
    EXPECT_LT(total - end, 4096U);
  }
}

TEST(Plan, TakesHighThroughput) {
  const Words one_node = {
      "plan",     "--mode", "high_throughput", "--ranks", "4",          "--experts", "32",
      "--tokens", "300",    "--hidden",        "256",     "--dispatch", "bf16"};
  const auto plan = report_of(one_node);
  EXPECT_EQ(plan.at("mode"), "high_throughput");
  EXPECT_EQ(plan.at("depth"), 1);
  const auto deeper = report_of(joined(one_node, {"--depth", "2"}));
  EXPECT_GT(deeper.at("symmetric_bytes"), plan.at("symmetric_bytes"));
  EXPECT_EQ(plan.at("rows"), "source");
  const auto by_expert = report_of(joined(one_node, {"--rows", "expert"}));
  EXPECT_GT(by_expert.at("local_bytes"), plan.at("local_bytes"));
  EXPECT_EQ(braid(joined(one_node, {"--ranks-per-node", "2"})).status, 2);
}

std::uint64_t symmetric_bytes(const Words& more) {
  return report_of(joined(kPlan, more)).at("symmetric_bytes").get<std::uint64_t>();
}

TEST(Plan, GrowsWithWhatIsAskedFor) {
  const std::uint64_t fp8 = symmetric_bytes({"--dispatch", "fp8"});
  EXPECT_GT(symmetric_bytes({"--dispatch", "bf16"}), fp8);
  EXPECT_GT(symmetric_bytes({"--dispatch", "fp8", "--depth", "4"}), fp8);
  EXPECT_GT(symmetric_bytes({"--dispatch", "fp8", "--fan-out", "per_expert"}), fp8);
  EXPECT_EQ(symmetric_bytes({"--dispatch", "fp8", "--fan-out", "auto"}), fp8);
}

TEST(Plan, ShowsTheCombineRegionsToTheByte) {
  const auto without = report_of(kPlan);
  const auto with = report_of(joined(kPlan, {"--combine-regions"}));
  EXPECT_EQ(without.at("combine_regions"), false);
  EXPECT_EQ(with.at("combine_regions"), true);
  EXPECT_EQ(with.at("symmetric_bytes"), without.at("symmetric_bytes"));
  const auto& region = with.at("local").back();
  EXPECT_EQ(region.at("name"), "combine_regions");
  // 4 handle slots of 4 experts x 8 ranks * 16 tokens x 256 channels.
  EXPECT_EQ(region.at("bytes"), 4 * 4 * 128 * 512);
  const auto end =
      region.at("offset").get<std::uint64_t>() + region.at("bytes").get<std::uint64_t>();
  EXPECT_EQ(with.at("local_bytes"), end);
  EXPECT_LT(
      region.at("offset").get<std::uint64_t>() - without.at("local_bytes").get<std::uint64_t>(),
      4096U);
}

TEST(Plan, IsATableForPeople) {
  const Ended plan = braid(kPlan);
  EXPECT_EQ(plan.status, 0);
  EXPECT_NE(plan.out.find("bytes"), std::string::npos);
  EXPECT_NE(plan.out.find("total of a rank"), std::string::npos);
  EXPECT_EQ(plan.err, "");
}

}  // namespace
}  // namespace braid::test
