// A rank that dies ends the run: in time, with its name, and nothing is left behind.
#include <gtest/gtest.h>
#include <signal.h>

#include <chrono>
#include <functional>
#include <set>
#include <string>
#include <thread>

#include "program.hpp"

namespace braid::test {
namespace {

using namespace std::chrono_literals;

bool becomes_true(const std::function<bool()>& condition, std::chrono::seconds within = 30s) {
  const auto end = std::chrono::steady_clock::now() + within;
  while (std::chrono::steady_clock::now() < end) {
    if (condition()) return true;
    std::this_thread::sleep_for(20ms);
  }
  return false;
}

// A run or bench that goes on for long, with four ranks that have all begun to work.
class Long {
 public:
  explicit Long(const Words& arguments)
      : program(joined(arguments, {"--ranks", "4", "--ranks-per-node", "2", "--processes",
                                   "--timeout", "3", "--repeat", "100000000"})) {
    EXPECT_TRUE(becomes_true([&] { return program.children().size() == 4; }));
    ranks = program.children();
    std::this_thread::sleep_for(1s);  // into the middle of it
  }

  pid_t process_of(int rank) const {
    for (const pid_t process : ranks) {
      if (variable_of(process, "RANK") == std::to_string(rank)) return process;
    }
    return -1;
  }

  bool nothing_is_left() const {
    return becomes_true([&] {
      for (const pid_t process : ranks) {
        if (is_alive(process)) return false;
      }
      return true;
    });
  }

  Program program;
  std::vector<pid_t> ranks;
};

const Words kRun = run_of("qwen3_moe_layer");
const Words kBench = {"bench", "--hidden", "256", "--experts", "8", "--tokens", "4"};

TEST(KilledRank, EndsTheRunInTimeWithItsNameAndTheOperation) {
  for (const Words& command : {kRun, kBench}) {
    for (const int victim : {0, 2}) {
      Long started(command);
      ASSERT_GT(started.process_of(victim), 0);
      ASSERT_EQ(::kill(started.process_of(victim), SIGKILL), 0);
      const auto killed = std::chrono::steady_clock::now();
      const Ended ended = started.program.wait();
      EXPECT_LT(std::chrono::steady_clock::now() - killed, 10s);
      EXPECT_EQ(ended.status, 1) << ended.err;
      EXPECT_NE(ended.err.find("rank " + std::to_string(victim)), std::string::npos) << ended.err;
      const bool names_operation = ended.err.find("dispatch") != std::string::npos ||
                                   ended.err.find("combine") != std::string::npos ||
                                   ended.err.find("barrier") != std::string::npos;
      EXPECT_TRUE(names_operation) << ended.err;
      EXPECT_EQ(ended.out, "");
      EXPECT_TRUE(started.nothing_is_left());
    }
  }
}

TEST(KilledTool, TakesItsRanksWithIt) {
  Long started(kRun);
  ASSERT_EQ(::kill(started.program.pid(), SIGKILL), 0);
  started.program.wait();
  EXPECT_TRUE(started.nothing_is_left());
}

}  // namespace
}  // namespace braid::test
