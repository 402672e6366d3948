// Symmetric memory between processes with a GPU each, through NCCL's windows. NCCL sets the memory
// up and is not heard of afterwards: what comes out are plain pointers.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace braid::cuda {

struct WindowRequest {
  int rank;
  int num_ranks;
  int device;
  std::size_t bytes;  // the same on every rank
  // Collective: every rank's bytes, by rank. How the ranks hand out NCCL's id and agree on trouble.
  std::function<std::vector<std::string>(const std::string&)> all_gather;
};

struct WindowMemory {
  std::vector<std::byte*> peers;  // by rank, for kernels and copies of this rank's device
  std::byte* local = nullptr;     // peers[rank]; zero-filled when allocated, 4096-aligned
  std::shared_ptr<void> mapping;  // keeps the memory alive
};

// Collective. Sets NCCL_NVLS_ENABLE=0 in this process: NVLink multicast is not used. Leaves
// `device` as the calling thread's current one. Each call has a communicator of its own.
//
// A rank whose part of a step fails tells the others, and all of them throw its sentence. Throws
// kMissing where libnccl, a GPU or symmetric memory is missing, or where the ranks are not all in
// one load/store domain; kInvalidArgument for sizes that differ or a device that is not there; and
// what all_gather throws. A wait within NCCL is NCCL's: a rank that is killed there is seen when
// its connections close, which all_gather's timeout does not cover.
//
// The mapping may be dropped at any time, whatever the peers do: nothing is waited for but what
// runs on this device. A peer that still writes here writes to memory that nobody reads.
WindowMemory allocate_windows(const WindowRequest& request);

}  // namespace braid::cuda
