// A transport that reorders like a network: puts arrive late, in random order, on another thread.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <random>
#include <thread>
#include <utility>
#include <vector>

#include "braid/group.hpp"
#include "transport/transport.hpp"

namespace braid::testing {

enum class SignalOrder {
  kAfterItsPuts,  // what Transport promises
  kAnyTime,       // a broken network: shows that a test would notice
};

class ReorderingTransport final : public Transport {
 public:
  ReorderingTransport(std::shared_ptr<Transport> inner, std::uint64_t seed,
                      SignalOrder order = SignalOrder::kAfterItsPuts);
  // Delivers what is still on its way.
  ~ReorderingTransport() override;

  const char* name() const noexcept override { return "reordering"; }
  void put(const PutRequest& request) override;
  void signal(const SignalRequest& request) override;

  // Blocks until nothing is on its way.
  void drain();

 private:
  using Key = std::pair<int, std::uint64_t>;  // destination, operation

  struct Put {
    PutRequest request;  // its data points to copy
    std::vector<std::byte> copy;
  };

  void serve();
  // With mutex_ held: one random thing that may be delivered now; false when nothing is.
  bool deliver_one(std::unique_lock<std::mutex>& lock);

  const std::shared_ptr<Transport> inner_;
  const SignalOrder order_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::mt19937_64 random_;
  std::vector<Put> puts_;
  std::vector<SignalRequest> signals_;
  std::map<Key, int> outstanding_;  // puts not yet delivered
  bool delivering_ = false;
  bool ending_ = false;
  std::thread thread_;
};

// The same group, whose symmetric memory comes with a ReorderingTransport in front of its own.
Group with_reordering(const Group& group, std::uint64_t seed,
                      SignalOrder order = SignalOrder::kAfterItsPuts);

}  // namespace braid::testing
