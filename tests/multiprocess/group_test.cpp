// Groups of real processes, some of which are killed.
#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>
#include <set>
#include <string>
#include <vector>

#include "runtime/launch.hpp"

namespace braid {
namespace {

using namespace std::chrono_literals;

struct Run {
  std::vector<ProcessResult> results;
  std::chrono::steady_clock::duration time;
};

std::set<std::string> shared_memory_files() {
  std::set<std::string> files;
  for (const auto& entry : std::filesystem::directory_iterator("/dev/shm")) {
    files.insert(entry.path());
  }
  return files;
}

Run run(int num_ranks, int ranks_per_node, const std::string& scenario) {
  const auto before = shared_memory_files();
  const auto start = std::chrono::steady_clock::now();
  LaunchOptions options;
  options.output = LaunchOptions::Output::kCapture;
  options.limit_ms = 30000;
  Run run{run_processes(num_ranks, ranks_per_node, {RANK_PROGRAM, scenario}, options), {}};
  run.time = std::chrono::steady_clock::now() - start;
  for (const auto& file : shared_memory_files()) {
    EXPECT_TRUE(before.contains(file) || file.find("braid") == std::string::npos) << file;
  }
  for (const auto& result : run.results) EXPECT_FALSE(result.killed) << "did not end by itself";
  return run;
}

void expect_failure(const ProcessResult& result, const std::string& sentence) {
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_NE(result.error.find(sentence), std::string::npos) << result.error;
}

class Processes : public ::testing::TestWithParam<std::pair<int, int>> {};

TEST_P(Processes, MeetShareMemoryAndEnd) {
  const auto [num_ranks, ranks_per_node] = GetParam();
  const auto outcome = run(num_ranks, ranks_per_node, "work");
  for (int rank = 0; rank < num_ranks; ++rank) {
    const auto& result = outcome.results[static_cast<std::size_t>(rank)];
    EXPECT_EQ(result.exit_code, 0) << result.error;
    EXPECT_EQ(result.output, "rank " + std::to_string(rank) + " of " + std::to_string(num_ranks) +
                                 ", node " + std::to_string(rank / ranks_per_node) + "\n");
  }
}

INSTANTIATE_TEST_SUITE_P(Sizes, Processes,
                         ::testing::Values(std::pair(1, 1), std::pair(2, 2), std::pair(4, 2),
                                           std::pair(8, 4)));

TEST(ProcessFailures, RankThatNeverArrivesIsNamed) {
  const auto outcome = run(3, 3, "never_arrives");
  for (const std::size_t rank : {0U, 2U}) {
    expect_failure(outcome.results[rank], "timeout: rank 1 did not arrive at 127.0.0.1:");
  }
  EXPECT_LT(outcome.time, 5s);
}

TEST(ProcessFailures, RankKilledInABarrierIsNamedAtOnce) {
  const auto outcome = run(4, 2, "dies_in_barrier");
  EXPECT_EQ(outcome.results[3].signal, 9);
  for (std::size_t rank = 0; rank < 3; ++rank) {
    expect_failure(outcome.results[rank],
                   "peer_failed: rank 3 ended or left the group during barrier");
  }
  EXPECT_LT(outcome.time, 8s) << "the timeout is 20 s";
}

TEST(ProcessFailures, RankZeroKilledInABarrierIsNamedAtOnce) {
  const auto outcome = run(3, 3, "center_dies_in_barrier");
  for (const std::size_t rank : {1U, 2U}) {
    expect_failure(outcome.results[rank],
                   "peer_failed: rank 0 ended or left the group during barrier");
  }
  EXPECT_LT(outcome.time, 8s);
}

TEST(ProcessFailures, RankKilledInSetUpIsNamedAtOnce) {
  const auto outcome = run(3, 3, "dies_in_set_up");
  EXPECT_EQ(outcome.results[1].signal, 9);
  expect_failure(outcome.results[0], "peer_failed: rank 1 ended during set-up");
  EXPECT_LT(outcome.time, 8s);
}

TEST(ProcessFailures, EveryRankKnowsWhoseProcessEnded) {
  const auto outcome = run(4, 4, "told_of_the_dead");
  for (const std::size_t rank : {0U, 1U, 3U}) {
    EXPECT_NE(outcome.results[rank].output.find("2"), std::string::npos)
        << outcome.results[rank].output;
  }
}

TEST(ProcessFailures, RankWithAnotherWorldSizeIsRefusedOnBothSides) {
  const auto outcome = run(2, 2, "disagrees");
  for (const auto& result : outcome.results) {
    expect_failure(result,
                   "invalid_argument: rank 1 was started for 4 ranks with 4 per node, but rank 0 "
                   "for 2 with 2 per node");
  }
}

TEST(ProcessFailures, SecondGroupOnTheSamePortWorksAfterAFailure) {
  const auto outcome = run(3, 3, "again");
  for (const auto& result : outcome.results) EXPECT_EQ(result.exit_code, 0) << result.error;
  EXPECT_NE(outcome.results[0].output.find("rank 1 ended or left the group"), std::string::npos);
}

}  // namespace
}  // namespace braid
