#include "backend/cuda/generic_kernels.hpp"

#include "backend/cuda/launch.hpp"
#include "backend/cuda/machine.cuh"
#include "protocol/combine.hpp"
#include "protocol/dispatch_both.hpp"

namespace braid::cuda::generic {
namespace {

constexpr int kMostThreads = kMostWarps * kWarpLanes;

extern __shared__ __align__(kSharedAlignment) std::byte block_memory[];

__device__ int this_block() { return static_cast<int>(blockIdx.x); }

__global__ void __launch_bounds__(kMostThreads, 1)
    dispatch_send_kernel(const __grid_constant__ DispatchKernelArgs args) {
  CudaMachine m(args.machine, args.dispatch.op.map, block_memory, this_block());
  protocol::dispatch_send(m, args.dispatch, args.round);
}

__global__ void __launch_bounds__(kMostThreads, 1)
    dispatch_receive_kernel(const __grid_constant__ DispatchKernelArgs args) {
  CudaMachine m(args.machine, args.dispatch.op.map, block_memory, this_block());
  protocol::dispatch_receive(m, args.dispatch, args.round);
}

__global__ void __launch_bounds__(kMostThreads, 1)
    dispatch_kernel(const __grid_constant__ DispatchKernelArgs args) {
  CudaMachine m(args.machine, args.dispatch.op.map, block_memory, this_block());
  protocol::dispatch(m, args.dispatch);
}

__global__ void __launch_bounds__(kMostThreads, 1)
    combine_send_kernel(const __grid_constant__ CombineKernelArgs args) {
  CudaMachine m(args.machine, args.combine.op.map, block_memory, this_block());
  protocol::combine_send(m, args.combine, args.round);
}

__global__ void __launch_bounds__(kMostThreads, 1)
    combine_receive_kernel(const __grid_constant__ CombineKernelArgs args) {
  CudaMachine m(args.machine, args.combine.op.map, block_memory, this_block());
  protocol::combine_receive(m, args.combine);
}

LaunchShape shape_of(const MachineArgs& machine, Residency residency, cudaStream_t stream) {
  return {machine.num_workers, machine.shared.num_threads(), machine.shared.bytes, residency,
          stream};
}

}  // namespace

void load_kernels() {
  for (const auto kernel : {dispatch_send_kernel, dispatch_receive_kernel, dispatch_kernel}) {
    load(kernel);
  }
  for (const auto kernel : {combine_send_kernel, combine_receive_kernel}) load(kernel);
}

void launch_dispatch_send(const DispatchKernelArgs& args, cudaStream_t stream) {
  launch(dispatch_send_kernel, shape_of(args.machine, Residency::kAny, stream), args);
}
void launch_dispatch_receive(const DispatchKernelArgs& args, cudaStream_t stream) {
  launch(dispatch_receive_kernel, shape_of(args.machine, Residency::kAny, stream), args);
}
void launch_dispatch(const DispatchKernelArgs& args, cudaStream_t stream) {
  launch(dispatch_kernel, shape_of(args.machine, Residency::kAll, stream), args);
}
void launch_combine_send(const CombineKernelArgs& args, cudaStream_t stream) {
  launch(combine_send_kernel, shape_of(args.machine, Residency::kAny, stream), args);
}
void launch_combine_receive(const CombineKernelArgs& args, cudaStream_t stream) {
  launch(combine_receive_kernel, shape_of(args.machine, Residency::kAny, stream), args);
}

}  // namespace braid::cuda::generic
