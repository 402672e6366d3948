#include "backend/cuda/block_dispatch.cuh"

#include "backend/cuda/block_kernels.hpp"
#include "backend/cuda/block_launch.hpp"

namespace braid::cuda::block {
namespace {

extern __shared__ __align__(kSharedAlignment) std::byte dispatch_memory[];

template <bool kFp8, int kUnits>
__global__ void __launch_bounds__(kBlockThreads, 1)
    send_kernel(const __grid_constant__ DispatchBlockArgs args) {
  block_dispatch_send<kFp8, kUnits>(args, dispatch_memory, this_block());
}

__global__ void __launch_bounds__(kBlockThreads, 1)
    receive_kernel(const __grid_constant__ DispatchBlockArgs args) {
  block_dispatch_receive(args, dispatch_memory, this_block());
}

template <bool kFp8, int kUnits>
__global__ void __launch_bounds__(kBlockThreads, 1)
    both_kernel(const __grid_constant__ DispatchBlockArgs args) {
  block_dispatch<kFp8, kUnits>(args, dispatch_memory, this_block());
}

using Kernel = void (*)(DispatchBlockArgs);

struct Kernels {
  Kernel fp8[kMostUnits], bf16[kMostUnits];
  Kernel of(const protocol::DispatchArgs& args) const {
    const int units = takes_two_units(args.op.map.shape.hidden) ? 1 : 0;
    return args.format == DispatchFormat::kBf16 ? bf16[units] : fp8[units];
  }
};
constexpr Kernels kSends{{send_kernel<true, 1>, send_kernel<true, 2>},
                         {send_kernel<false, 1>, send_kernel<false, 2>}};
constexpr Kernels kBoths{{both_kernel<true, 1>, both_kernel<true, 2>},
                         {both_kernel<false, 1>, both_kernel<false, 2>}};

void launch_kernel(Kernel kernel, const DispatchKernelArgs& args, cudaStream_t stream) {
  const DispatchBlockArgs block = block_args(args);
  launch(kernel, shape_of(args.machine, block.map.bytes, stream), block);
}

}  // namespace

void load_dispatch() {
  for (const Kernels& kernels : {kSends, kBoths}) {
    for (const Kernel kernel : kernels.fp8) load(kernel);
    for (const Kernel kernel : kernels.bf16) load(kernel);
  }
  load(receive_kernel);
}

void launch_dispatch_send(const DispatchKernelArgs& args, cudaStream_t stream) {
  launch_kernel(kSends.of(args.dispatch), args, stream);
}
void launch_dispatch_receive(const DispatchKernelArgs& args, cudaStream_t stream) {
  launch_kernel(receive_kernel, args, stream);
}
void launch_dispatch(const DispatchKernelArgs& args, cudaStream_t stream) {
  launch_kernel(kBoths.of(args.dispatch), args, stream);
}

}  // namespace braid::cuda::block
