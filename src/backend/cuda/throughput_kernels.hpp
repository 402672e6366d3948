// The kernels of high throughput: the roles of src/protocol/throughput_*.hpp, a launch each.
#pragma once

#include <cuda_runtime_api.h>

#include "backend/cuda/machine_args.hpp"
#include "protocol/args.hpp"

namespace braid::cuda {

template <class Operation>
struct ThroughputKernelArgs {
  Operation operation;
  MachineArgs machine;
};
using LayoutKernelArgs = ThroughputKernelArgs<protocol::LayoutArgs>;
using RowsDispatchKernelArgs = ThroughputKernelArgs<protocol::RowsDispatchArgs>;
using RowsCombineKernelArgs = ThroughputKernelArgs<protocol::RowsCombineArgs>;

// The first that fits of some ways to share a block; refused by name where none does.
SharedMap shared_map_of(const protocol::LayoutArgs& args);
SharedMap shared_map_of(const protocol::RowsDispatchArgs& args);
SharedMap shared_map_of(const protocol::RowsCombineArgs& args);

// How a launch of machine.num_workers blocks shares their memory: what MachineArgs says of it.
template <class Operation>
void share_memory(const Operation& operation, MachineArgs& machine) {
  machine.shared = shared_map_of(operation);
}
void share_memory(const protocol::RowsCombineArgs& operation, MachineArgs& machine);

// As load_kernels (kernels.hpp).
void load_throughput_kernels();

// All blocks must be resident at once, on this and on every peer's GPU.
void launch_layout(const LayoutKernelArgs& args, cudaStream_t stream);
void launch_dispatch_rows(const RowsDispatchKernelArgs& args, cudaStream_t stream);
void launch_combine_rows(const RowsCombineKernelArgs& args, cudaStream_t stream);

}  // namespace braid::cuda
