// Group: the ranks that work together, and how they found each other.
//
// A Group is one rank's membership. Ranks are threads of one process (Group::threads) or processes
// (Group::from_environment, Group::connect). "Collective" below means: every rank of the group
// calls it, in the same order; a rank that does not come ends the others' call with kTimeout and a
// sentence that names it; a rank that ended or left ends it at once, with kPeerFailed. Either ends
// the group: check() and every later call throw the same, and the process may build a new group at
// once, on the same address and port. A rank leaves by dropping the last copy of its Group, after a
// collective call that all have completed.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "braid/device.hpp"
#include "braid/stream.hpp"
#include "braid/topology.hpp"

namespace braid {

namespace detail {
class GroupBackend;
}

struct GroupOptions {
  // How long any wait for a peer may take. 0: BRAID_TIMEOUT_MS, or 30000 where that is not set.
  std::int64_t timeout_ms = 0;

  // What the ranks compute on; the same for all of them. kCuda throws kMissing where this build has
  // no CUDA, where no GPU of compute capability 9.0 or no driver is there, where the devices of two
  // ranks have no peer access to each other, and for more than one node.
  Backend backend = Backend::kCpu;
  // kCuda: the CUDA device of each rank (Group::threads), or of this one. Empty: a rank's index
  // within its node, modulo the number of visible devices. Ranks of one process may share a device.
  // Their Group must then be made before the process's first CUDA call, or
  // CUDA_MODULE_LOADING=EAGER and CUDA_DEVICE_MAX_CONNECTIONS=32 be set before it: with few
  // hardware queues, or a kernel that is loaded while another runs, a rank's launch may wait for
  // one that waits for it.
  std::vector<int> devices{};
};

class Group {
 public:
  // One Group for each rank of one process, in rank order; hand one to each thread.
  // Nodes are simulated: ranks of different nodes reach each other through a transport only.
  static std::vector<Group> threads(const Topology& topology, const GroupOptions& options = {});

  // This process's rank, from RANK, WORLD_SIZE, LOCAL_WORLD_SIZE (ranks per node; WORLD_SIZE where
  // it is not set), MASTER_ADDR and MASTER_PORT, as torchrun sets them. Collective. Throws
  // kInvalidArgument naming a variable that is missing or wrong.
  static Group from_environment(const GroupOptions& options = {});

  // The same with everything given. Rank 0 listens at address:port until all have come (a launcher
  // that keeps a server of its own there must hand out another port), the others connect to it. A
  // rank that was started for another topology, by another build, or with a number that is taken
  // already, is refused by name on both sides (kInvalidArgument). A process that forks must exec:
  // the others can't see the end of a rank while a fork of it lives.
  // All ranks are on one host and share memory by passed file descriptors: nothing has a name in a
  // file system, so a killed process leaves nothing behind. With kCuda each rank has a GPU of its
  // own, which becomes the calling thread's current device, and libnccl (BRAID_NCCL_LIBRARY, else
  // the loaded one, else libnccl.so.2) maps their memory when a Buffer is made: that throws
  // kMissing where libnccl is missing, of another version than this build's headers, or finds no
  // access between the GPUs, and kInvalidArgument for two ranks on one GPU.
  static Group connect(int rank, const Topology& topology, const std::string& address, int port,
                       const GroupOptions& options = {});

  int rank() const;
  const Topology& topology() const;
  std::int64_t timeout_ms() const;
  Backend backend_kind() const;
  int device() const;  // the CUDA device that this rank computes on; 0 on the CPU

  // A new stream where this rank computes: Stream::cpu(), or Stream::cuda(device()). CUDA may make
  // it wait for kernels that run on the device, also for one that waits for this rank: make streams
  // before any rank's first operation.
  Stream make_stream() const;

  // Collective. Throws kTimeout naming the ranks that did not come.
  void barrier();

  // Collective: every rank's text, by rank.
  std::vector<std::string> all_gather(const std::string& mine);

  // Throws what a failed operation on this group failed with, if one did; and once, what operations
  // met in their input on a GPU (buffer.hpp). Not collective.
  void check() const;

  detail::GroupBackend& backend() const { return *backend_; }
  explicit Group(std::shared_ptr<detail::GroupBackend> backend);

 private:
  std::shared_ptr<detail::GroupBackend> backend_;
};

}  // namespace braid
