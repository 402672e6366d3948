// Kernels that time one dispatch: two ranks in one launch, on one GPU, the first half of the
// blocks the first rank's.
#pragma once

#include "backend/cuda/kernels.hpp"

namespace braid::gpu_test {

inline constexpr int kStamps = 2;  // of a block: start, end

struct PairArgs {
  cuda::DispatchKernelArgs rank[2];
  std::uint64_t* stamps = nullptr;  // [blocks][kStamps] ns, or none
};

// dispatch_send and dispatch_receive, as any backend runs them.
void launch_generic_pair(const PairArgs& args, cudaStream_t stream);

// The same roles, compiled where the shape below is known.
void launch_fixed_pair(const PairArgs& args, cudaStream_t stream);

// The same job by a kernel that was written for it alone: two ranks, 64 experts, H 7168, top-8,
// int32, FP8 with float32 scales, one copy a rank, one round. It shares layout and flags.
void launch_specialized_pair(const PairArgs& args, cudaStream_t stream);

// Nothing, by as many blocks with as much shared memory.
void launch_empty_pair(const PairArgs& args, cudaStream_t stream);

// Compares cvt_rn_satfinite_e4m3x2_f32 with codec::float_to_e4m3 on all floats; *differences
// (device memory) is added to.
void launch_conversion_check(std::uint64_t* differences, cudaStream_t stream);

}  // namespace braid::gpu_test
