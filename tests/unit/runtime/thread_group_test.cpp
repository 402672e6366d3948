#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <functional>
#include <string>
#include <vector>

#include "braid/error.hpp"
#include "braid/group.hpp"
#include "runtime/group_backend.hpp"
#include "unit/runtime/ranks.hpp"

namespace braid {
namespace {

using testing::expect_all_well;
using testing::Outcome;

std::vector<Outcome> on_all(std::vector<Group>& groups,
                            const std::function<void(Group&)>& function) {
  return testing::on_ranks(static_cast<int>(groups.size()),
                           [&](int rank) { function(groups[static_cast<std::size_t>(rank)]); });
}

TEST(ThreadGroup, GathersByRankManyTimes) {
  for (const int num_ranks : {1, 2, 3, 8}) {
    auto groups = Group::threads({num_ranks, num_ranks});
    expect_all_well(on_all(groups, [&](Group& group) {
      for (int turn = 0; turn < 50; ++turn) {
        const auto all = group.all_gather(std::to_string(group.rank() * 1000 + turn));
        ASSERT_EQ(all.size(), static_cast<std::size_t>(num_ranks));
        for (int rank = 0; rank < num_ranks; ++rank) {
          EXPECT_EQ(all[static_cast<std::size_t>(rank)], std::to_string(rank * 1000 + turn));
        }
      }
    }));
  }
}

TEST(ThreadGroup, BarrierHoldsUntilTheLastRankCame) {
  auto groups = Group::threads({4, 2});
  std::atomic<int> arrived{0};
  expect_all_well(on_all(groups, [&](Group& group) {
    for (int turn = 1; turn <= 20; ++turn) {
      ++arrived;
      group.barrier();
      EXPECT_GE(arrived, 4 * turn);
    }
  }));
}

TEST(ThreadGroup, TimeoutNamesTheMissingRanksOnEveryRank) {
  auto groups = Group::threads({4, 4}, {.timeout_ms = 100});
  const auto outcomes = on_all(groups, [&](Group& group) {
    if (group.rank() % 2 == 0) group.barrier();
  });
  for (const std::size_t rank : {0U, 2U}) {
    EXPECT_EQ(outcomes[rank].sentence, "ranks 1, 3 did not come to barrier within 100 ms");
    EXPECT_EQ(outcomes[rank].code, ErrorCode::kTimeout);
    EXPECT_LT(outcomes[rank].time, std::chrono::seconds(2));
    EXPECT_THROW(groups[rank].check(), Error);
  }
  // The group has ended: a late rank is told so, and does not wait.
  EXPECT_NO_THROW(groups[1].check());
  EXPECT_THROW(groups[1].barrier(), Error);
}

TEST(ThreadGroup, RankThatLeftIsNamedAtOnce) {
  auto groups = Group::threads({3, 3}, {.timeout_ms = 30000});
  groups.pop_back();
  const auto outcomes = on_all(groups, [&](Group& group) { group.barrier(); });
  for (const auto& outcome : outcomes) {
    EXPECT_EQ(outcome.sentence, "rank 2 left the group and can't come to barrier");
    EXPECT_EQ(outcome.code, ErrorCode::kPeerFailed);
    EXPECT_LT(outcome.time, std::chrono::seconds(5));
  }
  EXPECT_EQ(groups[0].backend().dead_peers(), std::vector<int>{2});
}

TEST(ThreadGroup, LeavingAfterTheLastCallDisturbsNobody) {
  for (int turn = 0; turn < 50; ++turn) {
    auto groups = Group::threads({3, 3}, {.timeout_ms = 10000});
    expect_all_well(on_all(groups, [](Group& group) {
      const Group mine = std::move(group);
      Group(mine).barrier();
    }));
  }
}

TEST(ThreadGroup, FirstFailureStays) {
  auto groups = Group::threads({1, 1});
  groups[0].check();
  groups[0].backend().fail(std::make_exception_ptr(Error(ErrorCode::kTimeout, "first")));
  groups[0].backend().fail(std::make_exception_ptr(Error(ErrorCode::kTimeout, "second")));
  for (const auto& call : std::vector<std::function<void()>>{[&] { groups[0].check(); },
                                                             [&] { groups[0].barrier(); }}) {
    try {
      call();
      ADD_FAILURE() << "should throw";
    } catch (const Error& error) {
      EXPECT_STREQ(error.what(), "first");
    }
  }
}

TEST(SymmetricMemory, PeersOfTheNodeAreReachableAndTheOthersAreNot) {
  auto groups = Group::threads({4, 2});
  constexpr std::size_t kBytes = 10000;
  expect_all_well(on_all(groups, [&](Group& group) {
    const int rank = group.rank();
    const SymmetricMemory memory = group.backend().allocate(kBytes);
    EXPECT_EQ(memory.bytes, kBytes);
    EXPECT_EQ(memory.local, memory.peers[static_cast<std::size_t>(rank)]);
    EXPECT_TRUE(std::all_of(memory.local, memory.local + kBytes,
                            [](std::byte b) { return b == std::byte{0}; }));
    group.barrier();
    ASSERT_NE(memory.transport, nullptr);
    // Each rank writes its mark into its own place of every rank's block.
    const auto mark = static_cast<std::byte>(rank + 1);
    const auto at = static_cast<std::size_t>(rank) * 8;
    for (int peer = 0; peer < 4; ++peer) {
      std::byte* block = memory.peers[static_cast<std::size_t>(peer)];
      EXPECT_EQ(block != nullptr, peer / 2 == rank / 2);
      if (block != nullptr) {
        block[at] = mark;
        EXPECT_THROW(memory.transport->put({peer, 0, at, &mark, 1}), Error);
      } else {
        memory.transport->put({peer, 0, at, &mark, 1});
      }
    }
    group.barrier();
    for (std::size_t peer = 0; peer < 4; ++peer) {
      EXPECT_EQ(memory.local[peer * 8], static_cast<std::byte>(peer + 1));
    }
    group.barrier();
  }));
}

TEST(SymmetricMemory, OneNodeNeedsNoTransport) {
  auto groups = Group::threads({2, 2});
  expect_all_well(on_all(
      groups, [](Group& group) { EXPECT_EQ(group.backend().allocate(1).transport, nullptr); }));
}

TEST(SymmetricMemory, OutlivesTheGroupThatMadeIt) {
  auto groups = Group::threads({2, 1});
  std::vector<SymmetricMemory> memories(2);
  expect_all_well(on_all(groups, [&](Group& group) {
    memories[static_cast<std::size_t>(group.rank())] = group.backend().allocate(64);
  }));
  groups.clear();
  SymmetricMemory first = std::move(memories[0]);
  std::byte* second = memories[1].local;
  memories[1].mapping = nullptr;  // rank 0's view still holds the block
  memories[1].transport = nullptr;
  const std::byte data{5};
  first.transport->put({1, 0, 3, &data, 1});
  EXPECT_EQ(second[3], data);
}

TEST(SymmetricMemory, DifferentSizesAreRefusedEverywhereAndTheGroupLives) {
  auto groups = Group::threads({3, 3}, {.timeout_ms = 5000});
  const auto outcomes =
      on_all(groups, [](Group& group) { group.backend().allocate(group.rank() == 2 ? 128 : 64); });
  for (const auto& outcome : outcomes) {
    EXPECT_EQ(outcome.sentence,
              "rank 2 allocates 128 bytes of symmetric memory but rank 0 allocates 64; every rank "
              "must ask for the same");
    EXPECT_EQ(outcome.code, ErrorCode::kInvalidArgument);
  }
  expect_all_well(on_all(groups, [](Group& group) { group.backend().allocate(64); }));
}

TEST(Group, BadArgumentsAreRefused) {
  EXPECT_THROW(Group::threads({3, 2}), Error);
  EXPECT_THROW(Group::threads({0, 1}), Error);
  EXPECT_THROW(Group::threads({2, 2}, {.timeout_ms = -1}), Error);
  EXPECT_THROW(Group(nullptr), Error);
}

}  // namespace
}  // namespace braid
