#include "runtime/launch.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <string>
#include <vector>

#include "braid/error.hpp"

namespace braid {
namespace {

using namespace std::chrono_literals;

LaunchOptions captured() {
  LaunchOptions options;
  options.output = LaunchOptions::Output::kCapture;
  return options;
}

TEST(Launch, GivesEachProcessItsPlace) {
  const auto results = run_processes(
      4, 2,
      {"/bin/sh", "-c", "echo $RANK $WORLD_SIZE $LOCAL_RANK $LOCAL_WORLD_SIZE $MASTER_ADDR $EXTRA"},
      [] {
        LaunchOptions options = captured();
        options.environment = {{"EXTRA", "more"}, {"MASTER_ADDR", "localhost"}};
        return options;
      }());
  for (std::size_t rank = 0; rank < 4; ++rank) {
    EXPECT_EQ(results[rank].output,
              std::to_string(rank) + " 4 " + std::to_string(rank % 2) + " 2 localhost more\n");
    EXPECT_TRUE(results[rank].well());
  }
}

TEST(Launch, KeepsOutputErrorAndExitCodeApart) {
  const auto results = run_processes(
      2, 2, {"/bin/sh", "-c", "echo out$RANK; echo err$RANK >&2; exit $((RANK * 5))"}, captured());
  EXPECT_EQ(results[1].output, "out1\n");
  EXPECT_EQ(results[1].error, "err1\n");
  EXPECT_EQ(results[0].exit_code, 0);
  EXPECT_EQ(results[1].exit_code, 5);
}

TEST(Launch, TakesInMoreOutputThanAPipeHolds) {
  const auto results =
      run_processes(2, 2, {"/bin/sh", "-c", "head -c 1000000 /dev/zero"}, captured());
  for (const auto& result : results) EXPECT_EQ(result.output.size(), 1000000U);
}

TEST(Launch, TellsASignalFromAnExit) {
  const auto results = run_processes(1, 1, {"/bin/sh", "-c", "kill -9 $$"}, captured());
  EXPECT_EQ(results[0].signal, SIGKILL);
  EXPECT_EQ(results[0].exit_code, -1);
  EXPECT_FALSE(results[0].killed);
}

TEST(Launch, ProgramThatIsNotThereIsReported) {
  const auto results = run_processes(2, 2, {"/nowhere/program"}, captured());
  for (const auto& result : results) EXPECT_EQ(result.exit_code, 127);
}

TEST(Launch, OthersAreEndedAfterOneFailed) {
  LaunchOptions options = captured();
  options.after_failure_ms = 200;
  const auto start = std::chrono::steady_clock::now();
  const auto results = run_processes(3, 3, {RANK_PROGRAM, "fails_while_others_hang"}, options);
  EXPECT_LT(std::chrono::steady_clock::now() - start, 10s);
  EXPECT_EQ(results[1].exit_code, 7);
  EXPECT_FALSE(results[1].killed);
  for (const std::size_t rank : {0U, 2U}) {
    EXPECT_EQ(results[rank].signal, SIGKILL);
    EXPECT_TRUE(results[rank].killed);
    EXPECT_NE(kill(std::stoi(results[rank].output), 0), 0) << "is reaped";
  }
}

TEST(Launch, LimitEndsWhatHangs) {
  LaunchOptions options = captured();
  options.limit_ms = 300;
  const auto results = run_processes(2, 2, {RANK_PROGRAM, "hangs"}, options);
  for (const auto& result : results) EXPECT_TRUE(result.killed);
}

// Processes that hang, started by a launcher that is killed with -9.
TEST(Launch, KilledLauncherLeavesNoOrphan) {
  ASSERT_EQ(prctl(PR_SET_CHILD_SUBREAPER, 1), 0);  // orphans become ours to reap
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  const std::string program = RANK_PROGRAM;
  const pid_t launcher = fork();
  ASSERT_GE(launcher, 0);
  if (launcher == 0) {
    dup2(ends[1], STDOUT_FILENO);
    execl(program.c_str(), program.c_str(), "launches_what_hangs", nullptr);
    _exit(127);
  }
  close(ends[1]);
  FILE* const output = fdopen(ends[0], "r");
  std::vector<pid_t> pids(3);
  for (pid_t& pid : pids) ASSERT_EQ(std::fscanf(output, "%d", &pid), 1);
  std::fclose(output);
  for (const pid_t pid : pids) EXPECT_EQ(kill(pid, 0), 0);
  kill(launcher, SIGKILL);
  EXPECT_EQ(waitpid(launcher, nullptr, 0), launcher);
  for (const pid_t pid : pids) {
    int status = 0;
    EXPECT_EQ(waitpid(pid, &status, 0), pid);  // hangs where one lives on
    EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
  }
  prctl(PR_SET_CHILD_SUBREAPER, 0);
}

TEST(Launch, BadArgumentsAreRefused) {
  EXPECT_THROW(run_processes(3, 2, {"/bin/true"}), Error);
  EXPECT_THROW(run_processes(2, 2, {}), Error);
}

}  // namespace
}  // namespace braid
