// Ranks as threads of one process: they meet in a hub and share blocks by pointer.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "runtime/group_backend.hpp"

namespace braid::detail {

class ThreadHub;
struct Contribution;

class ThreadGroup final : public GroupBackend {
 public:
  // One for each rank, in rank order, sharing a hub.
  static std::vector<std::shared_ptr<ThreadGroup>> make(const Topology& topology,
                                                        std::int64_t timeout_ms);

  ThreadGroup(int rank, const Topology& topology, std::int64_t timeout_ms,
              std::shared_ptr<ThreadHub> hub);
  // Tells the others: who waits for this rank then learns that it left, at once.
  ~ThreadGroup() override;

  std::vector<std::string> all_gather(const std::string& mine, const std::string& what) override;
  SymmetricMemory allocate(std::size_t bytes) override;
  std::vector<int> dead_peers() noexcept override;

 private:
  std::shared_ptr<const std::vector<Contribution>> meet(Contribution mine, const std::string& what);

  std::shared_ptr<ThreadHub> hub_;
};

}  // namespace braid::detail
