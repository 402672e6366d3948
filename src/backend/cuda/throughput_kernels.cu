// The roles of high throughput as kernels.
#include "backend/cuda/throughput_kernels.hpp"

#include "backend/cuda/kernels.hpp"
#include "backend/cuda/launch.hpp"
#include "backend/cuda/machine.cuh"
#include "protocol/throughput_combine.hpp"
#include "protocol/throughput_dispatch.hpp"
#include "protocol/throughput_layout.hpp"

namespace braid::cuda {
namespace {

using protocol::LayoutArgs;
using protocol::RowsCombineArgs;
using protocol::RowsDispatchArgs;

constexpr int kMostThreads = kMostWarps * kWarpLanes;

extern __shared__ __align__(kSharedAlignment) std::byte block_memory[];

using ThroughputMachine = CudaMachineOf<layout::ThroughputMap>;
static_assert(machine::Machine<ThroughputMachine>);

__global__ void __launch_bounds__(kMostThreads, 1)
    layout_kernel(const __grid_constant__ ThroughputKernelArgs<LayoutArgs> args) {
  ThroughputMachine m(args.machine, args.operation.op.map, block_memory,
                      static_cast<int>(blockIdx.x));
  protocol::layout_routing(m, args.operation);
}

__global__ void __launch_bounds__(kMostThreads, 1)
    rows_dispatch_kernel(const __grid_constant__ ThroughputKernelArgs<RowsDispatchArgs> args) {
  ThroughputMachine m(args.machine, args.operation.op.map, block_memory,
                      static_cast<int>(blockIdx.x));
  protocol::dispatch_rows(m, args.operation);
}

__global__ void __launch_bounds__(kMostThreads, 1)
    rows_combine_kernel(const __grid_constant__ ThroughputKernelArgs<RowsCombineArgs> args) {
  ThroughputMachine m(args.machine, args.operation.op.map, block_memory,
                      static_cast<int>(blockIdx.x));
  protocol::combine_rows(m, args.operation);
}

LaunchShape shape_of(const MachineArgs& machine, cudaStream_t stream) {
  return {machine.num_workers, machine.shared.num_warps * kWarpLanes, machine.shared.bytes,
          Residency::kAll, stream};
}

}  // namespace

void load_throughput() {
  load(layout_kernel);
  load(rows_dispatch_kernel);
  load(rows_combine_kernel);
}

void launch_layout(const ThroughputKernelArgs<LayoutArgs>& args, cudaStream_t stream) {
  launch(layout_kernel, shape_of(args.machine, stream), args);
}
void launch_rows_dispatch(const ThroughputKernelArgs<RowsDispatchArgs>& args, cudaStream_t stream) {
  launch(rows_dispatch_kernel, shape_of(args.machine, stream), args);
}
void launch_rows_combine(const ThroughputKernelArgs<RowsCombineArgs>& args, cudaStream_t stream) {
  launch(rows_combine_kernel, shape_of(args.machine, stream), args);
}

}  // namespace braid::cuda
