// What all CPU machines of one rank and buffer share: reach, failures, traffic, scratch.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "layout/map.hpp"
#include "machine/machine.hpp"
#include "protocol/engine.hpp"
#include "transport/symmetric_memory.hpp"

namespace braid::cpu {

using machine::Word;
using protocol::Failure;

enum class Kind : int { kDispatch = 0, kCombine = 1 };

// Bytes and messages towards this rank itself, its node's other ranks, other nodes.
struct TrafficCounters {
  std::array<std::atomic<std::uint64_t>, 3> bytes{};
  std::array<std::atomic<std::uint64_t>, 3> messages{};
};

// A worker's own memory: a role's tables, an encoded row, a sum.
struct WorkerMemory {
  std::vector<std::byte> scratch;
  std::vector<std::byte> staging;
  std::vector<std::uint16_t> sum;
  std::vector<float> accumulator;
  std::vector<float> ones;
  std::vector<const std::byte*> terms;
};

class RankContext {
 public:
  // dead_peers: the ranks that are known to have ended, or empty where nobody knows.
  RankContext(int rank, const layout::ControlMap& control, SymmetricMemory memory,
              std::int64_t timeout_ms, std::function<std::vector<int>()> dead_peers = {});

  int rank() const { return rank_; }
  std::byte* local() const { return memory_.local; }
  std::byte* peer(int rank) const { return memory_.peers[static_cast<std::size_t>(rank)]; }
  Transport& transport() const { return *memory_.transport; }
  // 0: this rank; 1: its node; 2: another node.
  std::size_t distance(int rank) const {
    return rank == rank_ ? 0U : peer(rank) != nullptr ? 1U : 2U;
  }
  TrafficCounters& traffic(Kind kind) { return traffic_[static_cast<std::size_t>(kind)]; }
  const TrafficCounters& traffic(Kind kind) const {
    return traffic_[static_cast<std::size_t>(kind)];
  }

  // Waits until the flag's epoch is the expected one: yields first, then sleeps between looks, so
  // that many ranks share few cores. Ends unreached at the deadline, and as soon as this rank or a
  // peer has failed.
  machine::WaitResult wait(const Word* flag, std::uint32_t epoch, const machine::WaitTag& tag);
  // The same for a block's signal.
  machine::WaitResult wait_count(const std::int32_t* count, std::int32_t expected,
                                 const machine::WaitTag& tag);

  // This rank can't go on: ends its operations and tells its peers.
  void fail_here();
  bool failed() const { return failed_.load(std::memory_order_acquire); }
  Failure failure() const;

  // A top-k value that names no expert and counted as -1: the host has refused such a table, so it
  // was changed since. Only the first one is kept; its state is 0 where there was none.
  void report_bad_choice(std::int64_t token, int choice, std::int64_t value);
  machine::BadChoiceRecord bad_choice() const;

  std::unique_ptr<WorkerMemory> borrow();
  void give_back(std::unique_ptr<WorkerMemory> memory);

 private:
  template <class Look>
  machine::WaitResult wait_for(Look&& look_at, std::uint32_t epoch, const machine::WaitTag& tag);
  bool fail(const Failure& failure);
  void report(const Failure& failure);
  bool heard_of_failure();
  bool has_ended(int peer) const;

  int rank_;
  layout::ControlMap control_;
  SymmetricMemory memory_;
  std::int64_t timeout_ms_;
  std::function<std::vector<int>()> dead_peers_;
  std::array<TrafficCounters, 2> traffic_;
  std::atomic<bool> failed_{false};
  mutable std::mutex mutex_;
  Failure failure_;
  machine::BadChoiceRecord bad_choice_;
  std::vector<std::unique_ptr<WorkerMemory>> idle_;
};

}  // namespace braid::cpu
