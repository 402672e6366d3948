// What the launches of the block roles share.
#pragma once

#include <cstdint>

#include "backend/cuda/block.cuh"
#include "backend/cuda/launch.hpp"

namespace braid::cuda::block {

inline bool is_aligned(const void* address) {
  return reinterpret_cast<std::uintptr_t>(address) % 16 == 0;
}

inline LaunchShape shape_of(const MachineArgs& machine, std::int64_t shared_bytes,
                            Residency residency, cudaStream_t stream) {
  return {machine.num_workers, kBlockThreads, shared_bytes, residency, stream};
}

inline bool takes_two_units(int hidden) { return hidden > kRowThreads * kUnitChannels; }

__device__ inline int this_block() { return static_cast<int>(blockIdx.x); }

}  // namespace braid::cuda::block
