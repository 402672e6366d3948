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
  GroupBackend(const GroupBackend&) = delete;
  GroupBackend& operator=(const GroupBackend&) = delete;

  int rank() const { return rank_; }
  const Topology& topology() const { return topology_; }
  std::int64_t timeout_ms() const { return timeout_ms_; }

  // Collective; every rank's text, by rank. The base of barrier() too. what: names the call in
  // the sentence of a timeout ("barrier").
  virtual std::vector<std::string> all_gather(const std::string& mine,
                                              const std::string& what = "all_gather") = 0;

  // Collective; the same bytes on every rank. Different sizes are refused on every rank
  // (kInvalidArgument), and the group lives on.
  virtual SymmetricMemory allocate(std::size_t bytes) = 0;

  // The ranks that are known to have ended or left the group, ascending. Whatever they wrote before
  // is seen by whoever saw them here. Never blocks.
  virtual std::vector<int> dead_peers() noexcept { return {}; }

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

// "rank 3" or "ranks 3, 5".
std::string name_ranks(const std::vector<int>& ranks);

// "rank 3 has ended", "ranks 3, 5 have ended", or "" for none.
std::string name_ended(const std::vector<int>& ranks);

// Every rank's size, as allocate() gathered them: refuses sizes that differ, naming the ranks.
void require_same_bytes(const std::vector<std::string>& bytes_by_rank);

// Every rank's trouble with its own part of an allocation, "" for none: fails with the first.
void require_no_trouble(const std::vector<std::string>& trouble_by_rank);

}  // namespace braid::detail
