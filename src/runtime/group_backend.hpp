// What a Group is made of: rendezvous, symmetric memory, and the first failure.
#pragma once

#include <cstddef>
#include <cstdint>
#include <exception>
#include <mutex>
#include <string>
#include <vector>

#include "braid/group.hpp"
#include "transport/symmetric_memory.hpp"

namespace braid::detail {

class GroupBackend {
 public:
  GroupBackend(int rank, const Topology& topology, std::int64_t timeout_ms)
      : rank_(rank), topology_(topology), timeout_ms_(timeout_ms) {}
  virtual ~GroupBackend() = default;

  int rank() const { return rank_; }
  const Topology& topology() const { return topology_; }
  std::int64_t timeout_ms() const { return timeout_ms_; }

  // Collective; every rank's text, by rank. The base of barrier() too.
  virtual std::vector<std::string> all_gather(const std::string& mine) = 0;
  // Collective; the same bytes on every rank.
  virtual SymmetricMemory allocate(std::size_t bytes) = 0;

  // The first failure of an operation ends the group: check() throws it from then on.
  void fail(std::exception_ptr failure);
  void check() const;

 private:
  int rank_;
  Topology topology_;
  std::int64_t timeout_ms_;
  mutable std::mutex mutex_;
  std::exception_ptr failure_;
};

}  // namespace braid::detail
