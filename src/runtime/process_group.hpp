// Ranks as processes of one host: a star of TCP channels to meet and to gather over, a star of
// local sockets that passes descriptors, and a pipe a rank that shows its end.
#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "runtime/group_backend.hpp"
#include "runtime/rendezvous.hpp"
#include "runtime/star.hpp"

namespace braid::detail {

class ProcessGroup final : public GroupBackend {
 public:
  // Collective. meeting.timeout_ms bounds the whole set-up, and each call after it.
  ProcessGroup(const Meeting& meeting, std::shared_ptr<DeviceBackend> device);

  std::vector<std::string> all_gather(const std::string& mine, const std::string& what) override;
  SymmetricMemory allocate(std::size_t bytes) override;
  // Asks the pipes: also a rank that holds no channel to the dead one knows.
  std::vector<int> dead_peers() noexcept override;

 private:
  SymmetricMemory allocate_on_cpu(std::size_t bytes);
  void meet(const Meeting& meeting, const Deadline& deadline);
  std::vector<Part> gather(Star& star, Part mine, const std::string& what);

  std::mutex mutex_;  // one collective call at a time
  std::optional<Star> star_;
  std::optional<Star> local_star_;  // passes descriptors
  // Pipes: this rank holds its write end and everyone's read end. The kernel closes the write end
  // with the process, however it ends. (A child forked without exec would keep it open.)
  Descriptor alive_;
  std::vector<Descriptor> peers_alive_;
};

}  // namespace braid::detail
