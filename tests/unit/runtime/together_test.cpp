// Steps of a set-up that all ranks take side by side.
#include "base/together.hpp"

#include <gtest/gtest.h>

#include <cstdlib>
#include <functional>
#include <new>
#include <string>
#include <vector>

#include "base/check.hpp"
#include "support/ranks.hpp"

namespace braid {
namespace {

std::vector<std::string> step(Group& group, const std::function<std::string()>& part) {
  return together([&group](const std::string& mine) { return group.all_gather(mine); }, part);
}

const Topology kTwo{2, 2};

TEST(Together, EveryRankHasWhatEachPartReturned) {
  const auto failures = testing::run_ranks(kTwo, {}, [](Group& group) {
    const auto texts = step(group, [&] { return "of " + std::to_string(group.rank()); });
    EXPECT_EQ(texts, (std::vector<std::string>{"of 0", "of 1"}));
  });
  EXPECT_EQ(failures, (std::vector<std::string>{"", ""}));
}

TEST(Together, AllRanksThrowWhatOneHasThrownAndTheGroupLivesOn) {
  const auto failures = testing::run_ranks(kTwo, {}, [](Group& group) {
    try {
      step(group, [&]() -> std::string {
        if (group.rank() == 1) fail(ErrorCode::kMissing, "there is no room");
        return "";
      });
      ADD_FAILURE() << "nothing was thrown";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kMissing);
      EXPECT_STREQ(error.what(), "rank 1: there is no room");
    }
    try {
      step(group, [&]() -> std::string {
        if (group.rank() == 0) throw std::bad_alloc();
        return "";
      });
      ADD_FAILURE() << "nothing was thrown";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kInternal);
    }
    group.barrier();
  });
  EXPECT_EQ(failures, (std::vector<std::string>{"", ""}));
}

TEST(Timeout, OfTheEnvironmentIsHeldToTheSameBounds) {
  ::setenv("BRAID_TIMEOUT_MS", "10000000000000000", 1);
  std::string text = "nothing was thrown";
  try {
    Group::threads(kTwo, {});
  } catch (const Error& error) {
    text = error.what();
  }
  ::unsetenv("BRAID_TIMEOUT_MS");
  EXPECT_EQ(
      text,
      "timeout is 10000000000000000 ms, but must be 1 to 1000000000000, or 0 for the default");
}

}  // namespace
}  // namespace braid
