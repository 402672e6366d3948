// Ranks as threads of one process: they meet in a hub and share blocks by pointer.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "runtime/devices.hpp"
#include "runtime/group_backend.hpp"

namespace braid::detail {

class ThreadHub;
struct Contribution;

class ThreadGroup final : public GroupBackend {
 public:
  // One for each rank, in rank order, sharing a hub.
  // devices: by rank.
  static std::vector<std::shared_ptr<ThreadGroup>> make(const Topology& topology,
                                                        std::int64_t timeout_ms,
                                                        const Devices& devices);

  ThreadGroup(int rank, const Topology& topology, std::shared_ptr<ThreadHub> hub,
              std::shared_ptr<DeviceBackend> device);
  // Tells the others: who waits for this rank then learns that it left, at once.
  ~ThreadGroup() override;

  std::vector<std::string> all_gather(const std::string& mine, const std::string& what) override;
  SymmetricMemory allocate(std::size_t bytes) override;
  std::vector<int> dead_peers() noexcept override;

 private:
  SymmetricMemory allocate_on_cpu(std::size_t bytes);
  SymmetricMemory allocate_on_devices(std::size_t bytes);
  // Everyone's, or every rank fails with the first trouble.
  std::vector<std::shared_ptr<void>> exchange(const std::function<std::shared_ptr<void>()>& make);
  std::shared_ptr<const std::vector<Contribution>> meet(Contribution mine, const std::string& what);

  std::shared_ptr<ThreadHub> hub_;
};

}  // namespace braid::detail
