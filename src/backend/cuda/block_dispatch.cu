#include "backend/cuda/block_dispatch.cuh"

#include "backend/cuda/block_kernels.hpp"
#include "backend/cuda/block_launch.hpp"

namespace braid::cuda::block {
namespace {

extern __shared__ __align__(kSharedAlignment) std::byte dispatch_memory[];

template <bool kFp8, int kUnits>
__global__ void __launch_bounds__(kBlockThreads, 1)
    send_kernel(const __grid_constant__ DispatchKernelArgs args) {
  DispatchBlock<kFp8, kUnits>(args, dispatch_memory, this_block()).send();
}

// A message is bytes: neither its format nor its length is compiled in.
__global__ void __launch_bounds__(kBlockThreads, 1)
    receive_kernel(const __grid_constant__ DispatchKernelArgs args) {
  DispatchBlock<true, 1>(args, dispatch_memory, this_block()).receive();
}

template <bool kFp8, int kUnits>
__global__ void __launch_bounds__(kBlockThreads, 1)
    both_kernel(const __grid_constant__ DispatchKernelArgs args) {
  DispatchBlock<kFp8, kUnits>(args, dispatch_memory, this_block()).both();
}

using Kernel = void (*)(DispatchKernelArgs);

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

std::int64_t shared_bytes(const protocol::DispatchArgs& args) {
  const auto shape = layout::MessageShape::of(args.format, args.op.map.shape.hidden);
  return DispatchBlockMap::of(args.rules.experts.num_experts, args.rules.experts.num_ranks,
                              args.topk.k, shape.payload_bytes(), kRingRows)
      .bytes;
}

void launch_kernel(Kernel kernel, const DispatchKernelArgs& args, Residency residency,
                   cudaStream_t stream) {
  launch(kernel, shape_of(args.machine, shared_bytes(args.dispatch), residency, stream), args);
}

}  // namespace

bool takes(const protocol::DispatchArgs& args) {
  return args.rules.experts.num_rounds == 1 && !args.rules.per_expert &&
         args.op.map.shape.hidden <= kMostBlockHidden && is_aligned(args.x) &&
         is_aligned(args.out_x) && shared_bytes(args) <= kSharedLimit;
}

void load_dispatch() {
  for (const Kernels& kernels : {kSends, kBoths}) {
    for (const Kernel kernel : kernels.fp8) load(kernel);
    for (const Kernel kernel : kernels.bf16) load(kernel);
  }
  load(receive_kernel);
}

void launch_dispatch_send(const DispatchKernelArgs& args, cudaStream_t stream) {
  launch_kernel(kSends.of(args.dispatch), args, Residency::kAny, stream);
}
void launch_dispatch_receive(const DispatchKernelArgs& args, cudaStream_t stream) {
  launch_kernel(receive_kernel, args, Residency::kAny, stream);
}
void launch_dispatch(const DispatchKernelArgs& args, cudaStream_t stream) {
  launch_kernel(kBoths.of(args.dispatch), args, Residency::kAny, stream);
}

}  // namespace braid::cuda::block
