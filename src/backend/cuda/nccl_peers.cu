#include "backend/cuda/nccl_peers.hpp"

#include <memory>

#include "backend/cuda/launch.hpp"

namespace braid::cuda {
namespace {

struct StorePeersArgs {
  ncclWindow_t window;
  int num_ranks;
  std::byte** peers;
};

// NCCL 2.28 tells these pointers to device code only.
__global__ void store_peers_kernel(const __grid_constant__ StorePeersArgs args) {
  for (int rank = static_cast<int>(threadIdx.x); rank < args.num_ranks;
       rank += static_cast<int>(blockDim.x))
    args.peers[rank] = static_cast<std::byte*>(ncclGetPeerPointer(args.window, 0, rank));
}

struct Free {
  void operator()(std::byte** memory) const { cudaFree(memory); }
};

}  // namespace

std::vector<std::byte*> peers_of_window(ncclWindow_t window, int num_ranks) {
  std::vector<std::byte*> peers(static_cast<std::size_t>(num_ranks));
  const std::size_t bytes = peers.size() * sizeof(std::byte*);
  void* memory = nullptr;
  check(cudaMalloc(&memory, bytes), "cudaMalloc");
  const std::unique_ptr<std::byte*, Free> stored(static_cast<std::byte**>(memory));
  launch(store_peers_kernel, LaunchShape{}, StorePeersArgs{window, num_ranks, stored.get()});
  check(cudaMemcpy(peers.data(), stored.get(), bytes, cudaMemcpyDeviceToHost),
        "cudaMemcpy of the peers' pointers");
  return peers;
}

}  // namespace braid::cuda
