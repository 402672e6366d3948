// All ranks of one GPU in one launch, whose block index selects the rank: nothing has to run side
// by side, so that it also runs where launches are taken one at a time (under compute-sanitizer),
// and a launch that is not refused has all its blocks resident.
#pragma once

#include <vector>

#include "backend/cuda/block_args.hpp"
#include "backend/cuda/kernels.hpp"
#include "gpu/gpu_ranks.hpp"

namespace braid::gpu_test {

// The arguments of all ranks in device memory, as the generic and as the block roles take them;
// every rank has the same workers and shape.
template <class Args, class BlockArgs>
class TogetherArgs {
 public:
  explicit TogetherArgs(const std::vector<Args>& ranks)
      : first_(ranks.front()),
        first_block_(cuda::block_args(ranks.front())),
        num_ranks_(static_cast<int>(ranks.size())),
        memory_(static_cast<std::int64_t>(ranks.size() * sizeof(Args))),
        block_memory_(static_cast<std::int64_t>(ranks.size() * sizeof(BlockArgs))) {
    memory_.upload(ranks.data());
    std::vector<BlockArgs> blocks;
    for (const Args& args : ranks) blocks.push_back(cuda::block_args(args));
    block_memory_.upload(blocks.data());
  }

  const Args& first() const { return first_; }
  const BlockArgs& first_block() const { return first_block_; }
  int num_ranks() const { return num_ranks_; }
  const Args* on_device() const { return reinterpret_cast<const Args*>(memory_.data()); }
  const BlockArgs* blocks_on_device() const {
    return reinterpret_cast<const BlockArgs*>(block_memory_.data());
  }

 private:
  Args first_;
  BlockArgs first_block_;
  int num_ranks_;
  DeviceMemory memory_, block_memory_;
};

using DispatchTogether = TogetherArgs<cuda::DispatchKernelArgs, cuda::DispatchBlockArgs>;
using CombineTogether = TogetherArgs<cuda::CombineKernelArgs, cuda::CombineBlockArgs>;

// Both phases of the only round. Combine's generic roles take a launch for each phase.
namespace generic_together {
void dispatch(const DispatchTogether& all, cudaStream_t stream);
void combine(const CombineTogether& all, cudaStream_t stream);
}  // namespace generic_together
// Of operations that the block roles take, with rows of at most 7168 channels.
namespace block_together {
void dispatch(const DispatchTogether& all, cudaStream_t stream);
void combine(const CombineTogether& all, cudaStream_t stream);
}  // namespace block_together

}  // namespace braid::gpu_test
