// What a Group is made of: rendezvous, symmetric memory, and the first failure.
#pragma once

#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "braid/group.hpp"
#include "machine/device_backend.hpp"
#include "machine/stream_backend.hpp"
#include "transport/symmetric_memory.hpp"

namespace braid::detail {

class GroupBackend {
 public:
  // Without a device the rank computes on the CPU.
  GroupBackend(int rank, const Topology& topology, std::int64_t timeout_ms,
               std::shared_ptr<DeviceBackend> device = nullptr);
  virtual ~GroupBackend() = default;
  GroupBackend(const GroupBackend&) = delete;
  GroupBackend& operator=(const GroupBackend&) = delete;

  int rank() const { return rank_; }
  const Topology& topology() const { return topology_; }
  std::int64_t timeout_ms() const { return timeout_ms_; }
  DeviceBackend& device() const { return *device_; }
  const std::shared_ptr<DeviceBackend>& shared_device() const { return device_; }

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
  // Throws, once, what operations met in their input and went on after. No collective call does:
  // the others would wait.
  void check_input() const;
  // check() and check_input() ask it, as long as it lives.
  void watch(std::weak_ptr<FailureSource> source);

 private:
  std::vector<std::shared_ptr<FailureSource>> sources() const;

  int rank_;
  Topology topology_;
  std::int64_t timeout_ms_;
  std::shared_ptr<DeviceBackend> device_;
  mutable std::mutex mutex_;
  std::exception_ptr failure_;
  std::vector<std::weak_ptr<FailureSource>> sources_;
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
