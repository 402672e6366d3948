#include <gtest/gtest.h>

#include <map>
#include <set>
#include <vector>

#include "support/reordering_transport/reordering_transport.hpp"

namespace braid::testing {
namespace {

// Writes down what arrives.
struct Recorder final : Transport {
  struct Arrival {
    bool is_signal;
    int destination;
    std::uint64_t operation;
    std::byte first;
  };
  std::mutex mutex;
  std::vector<Arrival> arrivals;

  const char* name() const noexcept override { return "recorder"; }
  void put(const PutRequest& request) override {
    const std::lock_guard lock(mutex);
    arrivals.push_back({false, request.destination, request.operation, request.data[0]});
  }
  void signal(const SignalRequest& request) override {
    const std::lock_guard lock(mutex);
    arrivals.push_back({true, request.destination, request.operation, std::byte{0}});
  }
};

constexpr int kPuts = 20;

std::vector<Recorder::Arrival> send(std::uint64_t seed, SignalOrder order) {
  const auto recorder = std::make_shared<Recorder>();
  {
    ReorderingTransport transport(recorder, seed, order);
    for (std::uint64_t operation = 0; operation < 3; ++operation) {
      for (int destination = 0; destination < 2; ++destination) {
        for (int i = 0; i < kPuts; ++i) {
          auto data = static_cast<std::byte>(i);
          transport.put({destination, operation, 0, &data, 1});
          data = std::byte{0xFF};  // the caller may reuse it
        }
        transport.signal({destination, operation, 0, 1});
      }
    }
  }
  return recorder->arrivals;
}

bool signals_came_last(const std::vector<Recorder::Arrival>& arrivals) {
  std::set<std::pair<int, std::uint64_t>> signaled;
  for (const auto& each : arrivals) {
    const std::pair key(each.destination, each.operation);
    if (each.is_signal) signaled.insert(key);
    if (!each.is_signal && signaled.contains(key)) return false;
  }
  return true;
}

TEST(ReorderingTransport, DeliversEverythingWithSignalsAfterTheirPuts) {
  for (std::uint64_t seed = 0; seed < 10; ++seed) {
    const auto arrivals = send(seed, SignalOrder::kAfterItsPuts);
    std::map<std::pair<int, std::uint64_t>, std::set<std::byte>> bytes;
    int num_signals = 0;
    for (const auto& each : arrivals) {
      num_signals += each.is_signal;
      if (!each.is_signal) bytes[{each.destination, each.operation}].insert(each.first);
    }
    EXPECT_EQ(num_signals, 6);
    EXPECT_EQ(bytes.size(), 6U);
    for (const auto& [key, values] : bytes) {
      EXPECT_EQ(values.size(), static_cast<std::size_t>(kPuts));
      EXPECT_FALSE(values.contains(std::byte{0xFF}));
    }
    EXPECT_TRUE(signals_came_last(arrivals));
  }
}

TEST(ReorderingTransport, ReallyReorders) {
  const auto arrivals = send(1, SignalOrder::kAfterItsPuts);
  int backwards = 0;
  for (std::size_t i = 1; i < arrivals.size(); ++i) {
    backwards += arrivals[i].operation < arrivals[i - 1].operation;
  }
  EXPECT_GT(backwards, 5);
}

TEST(ReorderingTransport, BrokenOrderBreaksThePromise) {
  int broken = 0;
  for (std::uint64_t seed = 0; seed < 10; ++seed) {
    broken += !signals_came_last(send(seed, SignalOrder::kAnyTime));
  }
  EXPECT_GT(broken, 5);
}

TEST(ReorderingTransport, DrainWaitsForWhatIsOnItsWay) {
  const auto recorder = std::make_shared<Recorder>();
  ReorderingTransport transport(recorder, 3);
  const std::byte data{1};
  for (int i = 0; i < 50; ++i) transport.put({0, 0, 0, &data, 1});
  transport.drain();
  const std::lock_guard lock(recorder->mutex);
  EXPECT_EQ(recorder->arrivals.size(), 50U);
}

}  // namespace
}  // namespace braid::testing
