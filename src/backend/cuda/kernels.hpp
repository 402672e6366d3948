// The kernels, by what they run. Each is enqueued on a stream and returns; a failure to launch is
// thrown, a failure inside is in the machine's TimeoutRecord.
#pragma once

#include <cuda_runtime_api.h>

#include "backend/cuda/machine_args.hpp"
#include "protocol/args.hpp"

namespace braid::cuda {

struct DispatchKernelArgs {
  protocol::DispatchArgs dispatch;
  MachineArgs machine;
  int round = 0;
};

struct CombineKernelArgs {
  protocol::CombineArgs combine;
  MachineArgs machine;
  int round = 0;  // of the send
};

// Of high throughput: LayoutArgs, RowsDispatchArgs or RowsCombineArgs.
template <class Args>
struct ThroughputKernelArgs {
  Args operation;
  MachineArgs machine;
};

// The most warps that fit, up to kMostWarps; refused by name where not even one does.
SharedMap shared_map_of(const layout::ThroughputShape& shape);
SharedMap shared_map_of(const protocol::DispatchArgs& args);
SharedMap shared_map_of(const protocol::CombineArgs& args);

// All of them, on the current device, so that no launch loads one: that would wait for what runs on
// the device, which may wait for this very launch.
void load_kernels();

// Each takes the block roles where they do that operation (block_kernels.hpp), else the generic
// ones: layout and flags are the same, so that ranks and phases need not agree.
void launch_dispatch_send(const DispatchKernelArgs& args, cudaStream_t stream);
void launch_dispatch_receive(const DispatchKernelArgs& args, cudaStream_t stream);
// Both, of the only round, by the same blocks: all of them must be resident at once, on this and on
// every peer's GPU.
void launch_dispatch(const DispatchKernelArgs& args, cudaStream_t stream);
void launch_combine_send(const CombineKernelArgs& args, cudaStream_t stream);
void launch_combine_receive(const CombineKernelArgs& args, cudaStream_t stream);
// As launch_dispatch; a launch for each phase where only the generic roles do the operation.
void launch_combine(const CombineKernelArgs& args, cudaStream_t stream);

// All blocks of these must be resident at once, as of launch_dispatch.
void launch_layout(const ThroughputKernelArgs<protocol::LayoutArgs>& args, cudaStream_t stream);
void launch_rows_dispatch(const ThroughputKernelArgs<protocol::RowsDispatchArgs>& args,
                          cudaStream_t stream);
void launch_rows_combine(const ThroughputKernelArgs<protocol::RowsCombineArgs>& args,
                         cudaStream_t stream);

}  // namespace braid::cuda
