// A kernel that does nothing, launched as those of the operations are: a block takes an SM, and all
// of them are resident at once.
#pragma once

#include <cuda_runtime_api.h>

namespace braid::cuda {

void launch_nothing(int blocks, cudaStream_t stream);

}  // namespace braid::cuda
