#include "backend/cuda/block_combine.cuh"

#include "backend/cuda/block_kernels.hpp"
#include "backend/cuda/block_launch.hpp"

namespace braid::cuda::block {
namespace {

extern __shared__ __align__(kSharedAlignment) std::byte combine_memory[];

template <bool kAtExpertRank, int kUnits>
__global__ void __launch_bounds__(kBlockThreads, 1)
    send_kernel(const __grid_constant__ CombineBlockArgs args) {
  block_combine_send<kAtExpertRank, kUnits>(args, combine_memory, this_block());
}

template <bool kAtExpertRank, int kUnits>
__global__ void __launch_bounds__(kBlockThreads, 1)
    receive_kernel(const __grid_constant__ CombineBlockArgs args) {
  block_combine_receive<kAtExpertRank, kUnits>(args, combine_memory, this_block());
}

template <bool kAtExpertRank, int kUnits>
__global__ void __launch_bounds__(kBlockThreads, 1)
    both_kernel(const __grid_constant__ CombineBlockArgs args) {
  block_combine<kAtExpertRank, kUnits>(args, combine_memory, this_block());
}

using Kernel = void (*)(CombineBlockArgs);

struct Kernels {
  Kernel expert_rank[kMostUnits], token_rank[kMostUnits];
  Kernel of(const protocol::CombineArgs& args) const {
    const int units = takes_two_units(args.op.map.shape.hidden) ? 1 : 0;
    return args.at_expert_rank ? expert_rank[units] : token_rank[units];
  }
};
constexpr Kernels kSends{{send_kernel<true, 1>, send_kernel<true, 2>},
                         {send_kernel<false, 1>, send_kernel<false, 2>}};
constexpr Kernels kReceives{{receive_kernel<true, 1>, receive_kernel<true, 2>},
                            {receive_kernel<false, 1>, receive_kernel<false, 2>}};
constexpr Kernels kBoths{{both_kernel<true, 1>, both_kernel<true, 2>},
                         {both_kernel<false, 1>, both_kernel<false, 2>}};

void launch_kernel(Kernel kernel, const CombineKernelArgs& args, cudaStream_t stream) {
  const CombineBlockArgs block = block_args(args);
  launch(kernel, shape_of(args.machine, block.map.bytes, stream), block);
}

}  // namespace

void load_combine() {
  for (const Kernels& kernels : {kSends, kReceives, kBoths}) {
    for (const Kernel kernel : kernels.expert_rank) load(kernel);
    for (const Kernel kernel : kernels.token_rank) load(kernel);
  }
}

void launch_combine_send(const CombineKernelArgs& args, cudaStream_t stream) {
  launch_kernel(kSends.of(args.combine), args, stream);
}
void launch_combine_receive(const CombineKernelArgs& args, cudaStream_t stream) {
  launch_kernel(kReceives.of(args.combine), args, stream);
}
void launch_combine(const CombineKernelArgs& args, cudaStream_t stream) {
  if (!args.combine.at_expert_rank && args.machine.num_workers < 2) {
    block::launch_combine_send(args, stream);
    return block::launch_combine_receive(args, stream);
  }
  launch_kernel(kBoths.of(args.combine), args, stream);
}

}  // namespace braid::cuda::block
