#include "app/ranks.hpp"

#include <gtest/gtest.h>

#include "braid/error.hpp"

namespace braid::app {
namespace {

TEST(RootCause, IsTheFailureThatTheOthersFollowFrom) {
  const Failure peer{ErrorCode::kPeerFailed, "rank 2 failed"};
  const Failure late{ErrorCode::kTimeout, "rank 2 did not come"};
  const Failure cause{ErrorCode::kInvalidArgument, "token 3 is not a number"};
  const Failure later{ErrorCode::kInternal, "something else"};
  EXPECT_EQ(root_cause({peer, late, cause, later}).sentence, cause.sentence);
  EXPECT_EQ(root_cause({peer, late, peer}).sentence, late.sentence);
  EXPECT_EQ(root_cause({peer}).sentence, peer.sentence);
  EXPECT_EQ(root_cause({later, cause}).sentence, later.sentence);
}

TEST(RunAsThreads, GivesEveryRanksResultInRankOrder) {
  CommunicationOptions options;
  options.ranks = 4;
  const auto results = run_as_threads(options, [](Group& group) {
    RankResult result;
    result.num_operations = group.rank();
    return result;
  });
  ASSERT_EQ(results.size(), 4U);
  for (int rank = 0; rank < 4; ++rank) {
    EXPECT_EQ(results[static_cast<std::size_t>(rank)].num_operations, rank);
  }
}

TEST(RunAsThreads, ReportsTheRankThatFailedAndNotThoseThatWaitedForIt) {
  CommunicationOptions options;
  options.ranks = 3;
  options.timeout_seconds = 1;
  try {
    run_as_threads(options, [](Group& group) -> RankResult {
      if (group.rank() == 1) throw Error(ErrorCode::kInvalidArgument, "rank 1 stumbled");
      group.barrier();
      return {};
    });
    FAIL() << "nothing was thrown";
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(), "rank 1 stumbled");
    EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
  }
}

}  // namespace
}  // namespace braid::app
