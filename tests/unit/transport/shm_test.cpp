#include "transport/shm.hpp"

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <cstring>
#include <functional>
#include <limits>
#include <string>
#include <thread>
#include <vector>

#include "braid/error.hpp"

namespace braid {
namespace {

constexpr std::size_t kBytes = 256;
constexpr std::size_t kWords = kBytes / sizeof(std::uint64_t);

// Ranks 1 and 2 are on another node than the caller, rank 0.
struct Fixture {
  std::array<std::vector<std::uint64_t>, 3> words{std::vector<std::uint64_t>(kWords),
                                                  std::vector<std::uint64_t>(kWords),
                                                  std::vector<std::uint64_t>(kWords)};
  std::shared_ptr<ShmTransport> transport = std::make_shared<ShmTransport>(
      std::vector<std::byte*>{nullptr, bytes_of(1), bytes_of(2)}, kBytes, nullptr);

  std::byte* bytes_of(std::size_t rank) { return reinterpret_cast<std::byte*>(words[rank].data()); }
};

std::string message_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
    return error.what();
  }
  return "";
}

TEST(ShmTransport, PutWritesTheDestinationOnly) {
  Fixture fixture;
  const std::vector<std::byte> data(10, std::byte{0xAB});
  fixture.transport->put({2, 7, 100, data.data(), data.size()});
  for (std::size_t i = 0; i < kBytes; ++i) {
    EXPECT_EQ(fixture.bytes_of(1)[i], std::byte{0});
    EXPECT_EQ(fixture.bytes_of(2)[i], i >= 100 && i < 110 ? std::byte{0xAB} : std::byte{0});
  }
}

TEST(ShmTransport, SignalReleasesThePutsBeforeIt) {
  Fixture fixture;
  std::thread receiver([&] {
    std::atomic_ref<std::uint64_t> flag(fixture.words[1][0]);
    while (flag.load(std::memory_order_acquire) != 42) std::this_thread::yield();
    for (std::size_t i = 1; i < kWords; ++i) EXPECT_EQ(fixture.words[1][i], i);
  });
  for (std::size_t i = 1; i < kWords; ++i) {
    const std::uint64_t value = i;
    fixture.transport->put({1, 9, i * 8, reinterpret_cast<const std::byte*>(&value), 8});
  }
  fixture.transport->signal({1, 9, 0, 42});
  receiver.join();
}

TEST(ShmTransport, CountsByDestination) {
  Fixture fixture;
  const std::array<std::byte, 64> data{};
  fixture.transport->put({1, 1, 0, data.data(), 64});
  fixture.transport->put({1, 1, 64, data.data(), 3});
  fixture.transport->put({1, 1, 64, nullptr, 0});
  fixture.transport->signal({1, 1, 8, 1});
  fixture.transport->signal({2, 1, 8, 1});
  const auto stats = fixture.transport->stats();
  EXPECT_EQ(stats[0], (LinkStats{0, 0, 0}));
  EXPECT_EQ(stats[1], (LinkStats{3, 67, 1}));
  EXPECT_EQ(stats[2], (LinkStats{0, 0, 1}));
}

TEST(ShmTransport, RefusesWhatIsOutsideTheBlock) {
  Fixture fixture;
  const std::array<std::byte, 64> data{};
  auto& transport = *fixture.transport;
  transport.put({1, 1, kBytes - 64, data.data(), 64});
  EXPECT_EQ(message_of([&] {
              transport.put({1, 1, kBytes - 63, data.data(), 64});
            }),
            "64 bytes at offset 193 of rank 1 are outside its block of 256 bytes");
  const auto most = std::numeric_limits<std::uint64_t>::max();
  EXPECT_NE(message_of([&] { transport.put({1, 1, most - 8, data.data(), 64}); }), "");
  EXPECT_NE(message_of([&] { transport.put({1, 1, 8, data.data(), most}); }), "");
  EXPECT_NE(message_of([&] { transport.put({1, 1, 8, nullptr, 8}); }), "");
  EXPECT_NE(message_of([&] { transport.signal({1, 1, kBytes, 1}); }), "");
  EXPECT_NE(message_of([&] { transport.signal({1, 1, 12, 1}); }), "");
}

TEST(ShmTransport, RefusesARankThatItDoesNotReach) {
  Fixture fixture;
  for (const int rank : {-1, 0, 3}) {
    EXPECT_EQ(message_of([&] {
                fixture.transport->signal({rank, 1, 0, 1});
              }),
              "rank " + std::to_string(rank) + " is not reached by the shm transport");
  }
}

}  // namespace
}  // namespace braid
