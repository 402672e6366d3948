#include "gpu/together.hpp"

#include <stdexcept>

#include "backend/cuda/block_combine.cuh"
#include "backend/cuda/block_dispatch.cuh"
#include "backend/cuda/block_kernels.hpp"
#include "backend/cuda/launch.hpp"
#include "backend/cuda/machine.cuh"
#include "protocol/combine.hpp"
#include "protocol/dispatch_both.hpp"

namespace braid::gpu_test {
namespace {

using cuda::CombineKernelArgs;
using cuda::DispatchKernelArgs;

constexpr int kMostThreads = cuda::kMostWarps * cuda::kWarpLanes;

extern __shared__ __align__(cuda::kSharedAlignment) std::byte together_memory[];

// By value to a kernel.
template <class Args>
struct RanksArgs {
  const Args* ranks = nullptr;
  int workers = 1;  // of each rank
};

template <class Args>
__device__ const Args& own(const RanksArgs<Args>& all) {
  return all.ranks[static_cast<int>(blockIdx.x) / all.workers];
}
// The same in shared memory, which takes fewer registers to read.
template <class Args>
__device__ const Args& own_copy(const RanksArgs<Args>& all) {
  __shared__ __align__(16) std::byte copy[sizeof(Args)];
  const auto* words = reinterpret_cast<const std::uint32_t*>(&own(all));
  static_assert(sizeof(Args) % 4 == 0);
  for (unsigned i = threadIdx.x; i < sizeof(Args) / 4; i += blockDim.x) {
    reinterpret_cast<std::uint32_t*>(copy)[i] = words[i];
  }
  __syncthreads();
  return *reinterpret_cast<const Args*>(copy);
}
template <class Args>
__device__ int own_worker(const RanksArgs<Args>& all) {
  return static_cast<int>(blockIdx.x) % all.workers;
}

__global__ void __launch_bounds__(kMostThreads, 1)
    generic_dispatch(const __grid_constant__ RanksArgs<DispatchKernelArgs> all) {
  const DispatchKernelArgs& args = own(all);
  cuda::CudaMachine m(args.machine, args.dispatch.op.map, together_memory, own_worker(all));
  protocol::dispatch(m, args.dispatch);
}

__global__ void __launch_bounds__(kMostThreads, 1)
    generic_combine_send(const __grid_constant__ RanksArgs<CombineKernelArgs> all) {
  const CombineKernelArgs& args = own(all);
  cuda::CudaMachine m(args.machine, args.combine.op.map, together_memory, own_worker(all));
  protocol::combine_send(m, args.combine, 0);
}

__global__ void __launch_bounds__(kMostThreads, 1)
    generic_combine_receive(const __grid_constant__ RanksArgs<CombineKernelArgs> all) {
  const CombineKernelArgs& args = own(all);
  cuda::CudaMachine m(args.machine, args.combine.op.map, together_memory, own_worker(all));
  protocol::combine_receive(m, args.combine);
}

template <bool kFp8>
__global__ void __launch_bounds__(cuda::kBlockThreads, 1)
    block_dispatch(const __grid_constant__ RanksArgs<cuda::DispatchBlockArgs> all) {
  cuda::block_dispatch<kFp8, 1>(own_copy(all), together_memory, own_worker(all));
}

template <bool kAtExpertRank>
__global__ void __launch_bounds__(cuda::kBlockThreads, 1)
    block_combine(const __grid_constant__ RanksArgs<cuda::CombineBlockArgs> all) {
  cuda::block_combine<kAtExpertRank, 1>(own_copy(all), together_memory, own_worker(all));
}

// A block's threads and shared memory.
struct BlockNeeds {
  int threads;
  std::int64_t shared_bytes;
};

BlockNeeds needs_of(const cuda::SharedMap& map) {
  return {map.warps.num_warps * cuda::kWarpLanes, map.bytes};
}

struct Grid {
  int num_ranks;
  int workers;  // of each rank
};

template <class Args>
void launch_all(void (*kernel)(RanksArgs<Args>), const Args* ranks, const Grid& grid,
                const BlockNeeds& needs, cudaStream_t stream) {
  const cuda::LaunchShape shape{grid.num_ranks * grid.workers, needs.threads, needs.shared_bytes,
                                cuda::Residency::kAll, stream};
  cuda::launch(kernel, shape, RanksArgs<Args>{ranks, grid.workers});
}

template <class All>
Grid grid_of(const All& all) {
  return {all.num_ranks(), all.first().machine.num_workers};
}

template <class Args>
void require_taken(const Args& args) {
  if (cuda::block::takes(args) &&
      args.op.map.shape.hidden <= cuda::kRowThreads * cuda::kUnitChannels) {
    return;
  }
  throw std::invalid_argument("the block roles don't take this operation");
}

}  // namespace

void generic_together::dispatch(const DispatchTogether& all, cudaStream_t stream) {
  launch_all(generic_dispatch, all.on_device(), grid_of(all), needs_of(all.first().machine.shared),
             stream);
}

void generic_together::combine(const CombineTogether& all, cudaStream_t stream) {
  const BlockNeeds needs = needs_of(all.first().machine.shared);
  launch_all(generic_combine_send, all.on_device(), grid_of(all), needs, stream);
  launch_all(generic_combine_receive, all.on_device(), grid_of(all), needs, stream);
}

void block_together::dispatch(const DispatchTogether& all, cudaStream_t stream) {
  require_taken(all.first().dispatch);
  const bool bf16 = all.first().dispatch.format == DispatchFormat::kBf16;
  launch_all(bf16 ? block_dispatch<false> : block_dispatch<true>, all.blocks_on_device(),
             grid_of(all), {cuda::kBlockThreads, all.first_block().map.bytes}, stream);
}

void block_together::combine(const CombineTogether& all, cudaStream_t stream) {
  require_taken(all.first().combine);
  const bool sums = all.first().combine.at_expert_rank;
  launch_all(sums ? block_combine<true> : block_combine<false>, all.blocks_on_device(),
             grid_of(all), {cuda::kBlockThreads, all.first_block().map.bytes}, stream);
}

}  // namespace braid::gpu_test
