// The roles of src/protocol as kernels: for every operation there is.
#pragma once

#include <cuda_runtime_api.h>

#include "backend/cuda/kernels.hpp"

namespace braid::cuda::generic {

// On the current device.
void load_kernels();

void launch_dispatch_send(const DispatchKernelArgs& args, cudaStream_t stream);
void launch_dispatch_receive(const DispatchKernelArgs& args, cudaStream_t stream);
void launch_dispatch(const DispatchKernelArgs& args, cudaStream_t stream);
void launch_combine_send(const CombineKernelArgs& args, cudaStream_t stream);
void launch_combine_receive(const CombineKernelArgs& args, cudaStream_t stream);

}  // namespace braid::cuda::generic
