// The roles that this backend replaces whole, as kernels: which operations they take, and their
// launches. Anything else is the generic roles' (kernels.hpp chooses).
#pragma once

#include <cuda_runtime_api.h>

#include "backend/cuda/kernels.hpp"

namespace braid::cuda::block {

// One round and one copy a rank; rows that fit; addresses aligned for 16-byte loads and stores.
bool takes(const protocol::DispatchArgs& args);
// One round of BF16 rows without block signals; the same of rows and addresses.
bool takes(const protocol::CombineArgs& args);

// On the current device.
void load_dispatch();
void load_combine();

void launch_dispatch_send(const DispatchKernelArgs& args, cudaStream_t stream);
void launch_dispatch_receive(const DispatchKernelArgs& args, cudaStream_t stream);
void launch_dispatch(const DispatchKernelArgs& args, cudaStream_t stream);
void launch_combine_send(const CombineKernelArgs& args, cudaStream_t stream);
void launch_combine_receive(const CombineKernelArgs& args, cudaStream_t stream);
void launch_combine(const CombineKernelArgs& args, cudaStream_t stream);

}  // namespace braid::cuda::block
