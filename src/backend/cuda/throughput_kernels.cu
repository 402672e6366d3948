#include "backend/cuda/throughput_kernels.hpp"

#include "backend/cuda/launch.hpp"
#include "backend/cuda/machine.cuh"
#include "protocol/throughput_combine.hpp"
#include "protocol/throughput_dispatch.hpp"
#include "protocol/throughput_layout.hpp"

namespace braid::cuda {
namespace {

using Machine = CudaMachineOf<layout::ThroughputMap>;

constexpr int kMostThreads = kMostWarps * kWarpLanes;

extern __shared__ __align__(kSharedAlignment) std::byte throughput_memory[];

// What a launch that may start early does before it touches memory.
__device__ void begin(const MachineArgs& machine) {
  if (machine.takes_device) ptx::griddepcontrol_launch_dependents();
  ptx::griddepcontrol_wait();
}
__device__ int this_block() { return static_cast<int>(blockIdx.x); }

__global__ void __launch_bounds__(kMostThreads, 1)
    layout_kernel(const __grid_constant__ LayoutKernelArgs args) {
  begin(args.machine);
  Machine m(args.machine, args.operation.op.map, throughput_memory, this_block());
  protocol::layout_routing(m, args.operation);
}

__global__ void __launch_bounds__(kMostThreads, 1)
    dispatch_rows_kernel(const __grid_constant__ RowsDispatchKernelArgs args) {
  begin(args.machine);
  Machine m(args.machine, args.operation.op.map, throughput_memory, this_block());
  protocol::dispatch_rows(m, args.operation);
}

__global__ void __launch_bounds__(kMostThreads, 1)
    combine_rows_kernel(const __grid_constant__ RowsCombineKernelArgs args) {
  begin(args.machine);
  Machine m(args.machine, args.operation.op.map, throughput_memory, this_block());
  protocol::combine_source_rows(m, args.operation);
}

__global__ void __launch_bounds__(kMostThreads, 1)
    combine_expert_rows_kernel(const __grid_constant__ RowsCombineKernelArgs args) {
  begin(args.machine);
  Machine m(args.machine, args.operation.op.map, throughput_memory, this_block());
  protocol::combine_expert_rows(m, args.operation);
}

template <class Operation>
void launch_role(void (*kernel)(ThroughputKernelArgs<Operation>),
                 const ThroughputKernelArgs<Operation>& args, cudaStream_t stream) {
  const MachineArgs& machine = args.machine;
  launch(kernel,
         LaunchShape{machine.num_workers, machine.shared.num_threads(),
                     max_of(machine.shared.bytes, machine.sending.bytes), Residency::kAny, stream,
                     machine.starts_early ? Start::kEarly : Start::kAfterTheLast},
         args);
}

}  // namespace

void load_throughput_kernels() {
  load(layout_kernel);
  load(dispatch_rows_kernel);
  load(combine_rows_kernel);
  load(combine_expert_rows_kernel);
}

void launch_layout(const LayoutKernelArgs& args, cudaStream_t stream) {
  launch_role(layout_kernel, args, stream);
}
void launch_dispatch_rows(const RowsDispatchKernelArgs& args, cudaStream_t stream) {
  launch_role(dispatch_rows_kernel, args, stream);
}
void launch_combine_rows(const RowsCombineKernelArgs& args, cudaStream_t stream) {
  launch_role(args.operation.expanded ? combine_expert_rows_kernel : combine_rows_kernel, args,
              stream);
}

}  // namespace braid::cuda
