// What the launches of the block roles share.
#pragma once

#include "backend/cuda/block_args.hpp"
#include "backend/cuda/block_constants.hpp"
#include "backend/cuda/launch.hpp"

namespace braid::cuda::block {

// Not cooperative, which costs a third of a microsecond: budgets keep all blocks of all ranks of a
// device within its SMs, and what else runs there ends without them.
inline LaunchShape shape_of(const MachineArgs& machine, std::int64_t shared_bytes,
                            cudaStream_t stream) {
  return {machine.num_workers,
          kBlockThreads,
          shared_bytes,
          Residency::kAny,
          stream,
          machine.starts_early ? Start::kEarly : Start::kAfterTheLast};
}

inline bool takes_two_units(int hidden) { return hidden > kRowThreads * kUnitChannels; }

__device__ inline int this_block() { return static_cast<int>(blockIdx.x); }

}  // namespace braid::cuda::block
