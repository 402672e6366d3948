// Process groups whose ranks are, for once, threads: sockets, descriptors and mappings are the
// same, and sanitizers see both sides. Killed processes are in tests/multiprocess.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <filesystem>
#include <memory>
#include <set>

#include "braid/group.hpp"
#include "runtime/group_backend.hpp"
#include "runtime/launch.hpp"
#include "runtime/socket.hpp"
#include "unit/runtime/ranks.hpp"

namespace braid {
namespace {

using namespace std::chrono_literals;
using testing::expect_all_well;
using testing::on_ranks;

constexpr GroupOptions kPatient{.timeout_ms = 20000};

Group connect(int rank, const Topology& topology, int port, const GroupOptions& options) {
  return Group::connect(rank, topology, "127.0.0.1", port, options);
}

void pause(std::chrono::milliseconds time) { std::this_thread::sleep_for(time); }

std::set<int> descriptors() {
  std::set<int> result;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    result.insert(std::stoi(entry.path().filename()));
  }
  // The look's own is closed by now.
  std::erase_if(result, [](int fd) { return fcntl(fd, F_GETFD) < 0; });
  return result;
}

detail::Descriptor raw_connection(int port) {
  std::string why_not;
  for (int i = 0; i < 1000; ++i) {
    auto fd = detail::connect_tcp("127.0.0.1", port, detail::Deadline::after_ms(1000), why_not);
    if (fd.valid()) return fd;
    pause(1ms);
  }
  ADD_FAILURE() << why_not;
  return {};
}

TEST(ProcessGroup, GathersByRankManyTimes) {
  for (const int num_ranks : {1, 2, 5}) {
    const int port = free_port();
    expect_all_well(on_ranks(num_ranks, [&](int rank) {
      Group group = connect(rank, {num_ranks, num_ranks}, port, kPatient);
      for (int turn = 0; turn < 30; ++turn) {
        const auto all = group.all_gather(std::to_string(rank * 1000 + turn));
        ASSERT_EQ(all.size(), static_cast<std::size_t>(num_ranks));
        for (int peer = 0; peer < num_ranks; ++peer) {
          EXPECT_EQ(all[static_cast<std::size_t>(peer)], std::to_string(peer * 1000 + turn));
        }
      }
    }));
  }
}

TEST(ProcessGroup, GathersTextsThatFillSocketsManyTimesOver) {
  const int port = free_port();
  expect_all_well(on_ranks(3, [&](int rank) {
    Group group = connect(rank, {3, 3}, port, kPatient);
    const auto all = group.all_gather(std::string(3000000, static_cast<char>('a' + rank)));
    for (int peer = 0; peer < 3; ++peer) {
      EXPECT_TRUE(all[static_cast<std::size_t>(peer)] ==
                  std::string(3000000, static_cast<char>('a' + peer)));
    }
  }));
}

TEST(ProcessGroup, SharesMemoryInsideANodeOnly) {
  const int port = free_port();
  constexpr std::size_t kBytes = 10000;
  expect_all_well(on_ranks(4, [&](int rank) {
    Group group = connect(rank, {4, 2}, port, kPatient);
    const SymmetricMemory memory = group.backend().allocate(kBytes);
    EXPECT_TRUE(std::all_of(memory.local, memory.local + kBytes,
                            [](std::byte b) { return b == std::byte{0}; }));
    group.barrier();
    const auto mark = static_cast<std::byte>(rank + 1);
    const auto at = static_cast<std::size_t>(rank) * 8;
    for (int peer = 0; peer < 4; ++peer) {
      std::byte* block = memory.peers[static_cast<std::size_t>(peer)];
      EXPECT_EQ(block != nullptr, peer / 2 == rank / 2);
      if (block != nullptr) {
        block[at] = mark;
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

TEST(ProcessGroup, DifferentSizesAreRefusedEverywhereAndTheGroupLives) {
  const int port = free_port();
  expect_all_well(on_ranks(2, [&](int rank) {
    Group group = connect(rank, {2, 2}, port, kPatient);
    try {
      group.backend().allocate(rank == 0 ? 64 : 128);
      ADD_FAILURE() << "should throw";
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find("rank 1 allocates 128 bytes"), std::string::npos);
    }
    EXPECT_EQ(group.backend().allocate(64).bytes, 64U);
  }));
}

TEST(ProcessGroup, MissingRankIsNamedOnEveryRank) {
  const int port = free_port();
  const auto outcomes = on_ranks(4, [&](int rank) {
    if (rank != 2) connect(rank, {4, 4}, port, {.timeout_ms = 300});
  });
  for (const std::size_t rank : {0U, 1U, 3U}) {
    EXPECT_EQ(outcomes[rank].sentence,
              "rank 2 did not arrive at 127.0.0.1:" + std::to_string(port) + " within 300 ms");
    EXPECT_EQ(outcomes[rank].code, ErrorCode::kTimeout);
    EXPECT_LT(outcomes[rank].time, 3s);
  }
}

TEST(ProcessGroup, MissingRankIsNamedAlsoWhenRankZeroStartsLate) {
  const int port = free_port();
  const auto outcomes = on_ranks(3, [&](int rank) {
    if (rank == 0) pause(200ms);
    if (rank != 2) connect(rank, {3, 3}, port, {.timeout_ms = 500});
  });
  for (const std::size_t rank : {0U, 1U}) {
    EXPECT_NE(outcomes[rank].sentence.find("rank 2 did not arrive"), std::string::npos)
        << outcomes[rank].sentence;
  }
}

TEST(ProcessGroup, MissingRankZeroIsNamed) {
  const int port = free_port();
  const auto outcomes = on_ranks(1, [&](int) { connect(1, {2, 2}, port, {.timeout_ms = 200}); });
  EXPECT_EQ(outcomes[0].sentence, "rank 1 could not reach rank 0 at 127.0.0.1:" +
                                      std::to_string(port) + " within 200 ms: Connection refused");
}

TEST(ProcessGroup, RankThatSkipsABarrierIsNamedOnEveryRank) {
  for (const int missing : {0, 2}) {
    const int port = free_port();
    std::atomic<int> ended{0};
    const auto outcomes = on_ranks(4, [&](int rank) {
      Group group = connect(rank, {4, 4}, port, {.timeout_ms = 600});
      group.barrier();
      if (rank == missing) {
        while (ended < 3) pause(1ms);  // alive, and somewhere else
        return;
      }
      try {
        group.barrier();
      } catch (...) {
        ++ended;
        EXPECT_THROW(group.check(), Error);
        throw;
      }
    });
    for (int rank = 0; rank < 4; ++rank) {
      if (rank == missing) continue;
      const auto& outcome = outcomes[static_cast<std::size_t>(rank)];
      EXPECT_EQ(outcome.sentence,
                "rank " + std::to_string(missing) + " did not come to barrier within 600 ms");
      EXPECT_EQ(outcome.code, ErrorCode::kTimeout);
      EXPECT_LT(outcome.time, 4s);
    }
  }
}

TEST(ProcessGroup, RankThatLeftIsNamedAtOnce) {
  const int port = free_port();
  std::atomic<bool> left{false};
  std::atomic<int> looked{0};
  const auto outcomes = on_ranks(3, [&](int rank) {
    auto group = std::make_unique<Group>(connect(rank, {3, 3}, port, kPatient));
    if (rank == 2) {
      group.reset();
      left = true;
      return;
    }
    while (!left) pause(1ms);
    EXPECT_EQ(group->backend().dead_peers(), std::vector<int>{2});
    for (++looked; looked < 2;) pause(1ms);  // the first to fail would show as dead, too
    group->barrier();
  });
  for (const std::size_t rank : {0U, 1U}) {
    EXPECT_EQ(outcomes[rank].sentence, "rank 2 ended or left the group during barrier");
    EXPECT_EQ(outcomes[rank].code, ErrorCode::kPeerFailed);
    EXPECT_LT(outcomes[rank].time, 5s);
  }
}

TEST(ProcessGroup, LeavingAfterTheLastCallDisturbsNobody) {
  for (int turn = 0; turn < 20; ++turn) {
    const int port = free_port();
    expect_all_well(on_ranks(4, [&](int rank) {
      connect(rank, {4, 4}, port, kPatient).barrier();
    }));
  }
}

TEST(ProcessGroup, NextGroupOnTheSamePortFollowsAFailureAtOnce) {
  const int port = free_port();
  for (int turn = 0; turn < 10; ++turn) {
    const auto outcomes = on_ranks(3, [&](int rank) {
      {
        Group group = connect(rank, {3, 3}, port, kPatient);
        if (rank != 1) {
          EXPECT_THROW(group.barrier(), Error);
        }
      }
      Group next = connect(rank, {3, 3}, port, kPatient);
      next.backend().allocate(4096);
      next.barrier();
    });
    expect_all_well(outcomes);
  }
}

TEST(ProcessGroup, NextGroupFollowsAFailedSetUp) {
  const int port = free_port();
  std::atomic<int> failed{0};
  expect_all_well(on_ranks(3, [&](int rank) {
    if (rank != 2) {
      EXPECT_THROW(connect(rank, {3, 3}, port, {.timeout_ms = 100}), Error);
      ++failed;
    }
    while (failed < 2) pause(1ms);
    connect(rank, {3, 3}, port, kPatient).barrier();
  }));
}

TEST(ProcessGroup, DisagreeingRankIsRefusedByNameOnBothSides) {
  const int port = free_port();
  const auto outcomes = on_ranks(2, [&](int rank) {
    connect(rank, rank == 0 ? Topology{2, 2} : Topology{4, 2}, port, kPatient);
  });
  for (const auto& outcome : outcomes) {
    EXPECT_EQ(outcome.sentence,
              "rank 1 was started for 4 ranks with 2 per node, but rank 0 for 2 with 2 per node");
    EXPECT_EQ(outcome.code, ErrorCode::kInvalidArgument);
    EXPECT_LT(outcome.time, 5s);
  }
}

TEST(ProcessGroup, RankThatComesTwiceIsRefusedByName) {
  const int port = free_port();
  const auto outcomes = on_ranks(3, [&](int rank) {
    connect(rank == 2 ? 1 : rank, {3, 3}, port, kPatient);
  });
  int refused = 0;
  for (const auto& outcome : outcomes) {
    EXPECT_NE(outcome.sentence.find("rank 1 came twice"), std::string::npos) << outcome.sentence;
    refused += outcome.code == ErrorCode::kInvalidArgument;
  }
  EXPECT_EQ(refused, 2) << "rank 0 and the second of the two; the first is told of a peer";
}

TEST(ProcessGroup, StrayConnectionsHarmNobody) {
  const int port = free_port();
  expect_all_well(on_ranks(3, [&](int rank) {
    std::vector<detail::Descriptor> strays;
    if (rank == 2) {
      // Silent, talkative, gone at once, a huge announced text, and half a hello.
      strays.push_back(raw_connection(port));
      for (const std::string& text :
           {std::string("GET / HTTP/1.1\r\n\r\n"), std::string(100000, '\xFF'), std::string(),
            std::string("\x01\x44\x72\x42\0\0\0\0\0\0\0\0\0\0\0\0\xFF\xFF\xFF\xFF\xFF\xFF\0\0", 24),
            std::string("\x01\x44\x72\x42\0\0", 6)}) {
        strays.push_back(raw_connection(port));
        send(strays.back().get(), text.data(), text.size(), MSG_NOSIGNAL);
      }
      strays[3].reset();
      pause(20ms);
    }
    connect(rank, {3, 3}, port, kPatient).barrier();
  }));
}

TEST(ProcessGroup, LeavesNoDescriptorOpen) {
  const auto before = descriptors().size();
  for (const bool fails : {false, true}) {
    const int port = free_port();
    std::vector<SymmetricMemory> memories(3);
    on_ranks(3, [&](int rank) {
      Group group = connect(rank, {3, 1}, port, kPatient);
      memories[static_cast<std::size_t>(rank)] = group.backend().allocate(1 << 20);
      group.barrier();
      if (fails && rank == 1) return;
      if (fails) group.barrier();
    });
    // The memory is still there, and holds none.
    EXPECT_EQ(descriptors().size(), before);
    *memories[0].local = std::byte{1};
  }
  on_ranks(1, [&](int) { connect(0, {2, 2}, free_port(), {.timeout_ms = 50}); });
  EXPECT_EQ(descriptors().size(), before);
}

TEST(ProcessGroup, EveryDescriptorClosesOnExec) {
  const int port = free_port();
  const std::set<int> before = descriptors();
  expect_all_well(on_ranks(2, [&](int rank) {
    Group group = connect(rank, {2, 2}, port, kPatient);
    group.backend().allocate(4096);
    group.barrier();
    if (rank == 0) {
      int num_new = 0;
      for (const int fd : descriptors()) {
        if (before.contains(fd)) continue;
        ++num_new;
        EXPECT_NE(fcntl(fd, F_GETFD) & FD_CLOEXEC, 0) << fd;
      }
      // Of two ranks: the ends of two channels, two pipes' write ends, four read ends.
      EXPECT_EQ(num_new, 10);
    }
    group.barrier();
  }));
}

TEST(ProcessGroup, BadArgumentsAreRefused) {
  EXPECT_THROW(connect(2, {2, 2}, 4000, kPatient), Error);
  EXPECT_THROW(connect(-1, {2, 2}, 4000, kPatient), Error);
  EXPECT_THROW(connect(0, {3, 2}, 4000, kPatient), Error);
  EXPECT_THROW(connect(0, {2, 2}, 0, kPatient), Error);
  EXPECT_THROW(connect(0, {2, 2}, 65536, kPatient), Error);
  const auto start = std::chrono::steady_clock::now();
  EXPECT_THROW(Group::connect(0, {2, 2}, "192.0.2.1", 4000, kPatient), Error);  // not this host's
  EXPECT_LT(std::chrono::steady_clock::now() - start, 5s);
}

}  // namespace
}  // namespace braid
