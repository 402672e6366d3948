// All ranks of one GPU in one launch, whose block index selects the rank: nothing has to run side
// by side, so that it also runs where launches are taken one at a time (under compute-sanitizer),
// and a launch that is not refused has all its blocks resident.
#pragma once

#include <vector>

#include "backend/cuda/kernels.hpp"
#include "gpu/gpu_ranks.hpp"

namespace braid::gpu_test {

// The arguments of all ranks in device memory; every rank has the same workers and shape.
template <class Args>
class TogetherArgs {
 public:
  explicit TogetherArgs(const std::vector<Args>& ranks)
      : first_(ranks.front()),
        num_ranks_(static_cast<int>(ranks.size())),
        memory_(static_cast<std::int64_t>(ranks.size() * sizeof(Args))) {
    memory_.upload(ranks.data());
  }

  const Args& first() const { return first_; }
  int num_ranks() const { return num_ranks_; }
  const Args* on_device() const { return reinterpret_cast<const Args*>(memory_.data()); }

 private:
  Args first_;
  int num_ranks_;
  DeviceMemory memory_;
};

using DispatchTogether = TogetherArgs<cuda::DispatchKernelArgs>;
using CombineTogether = TogetherArgs<cuda::CombineKernelArgs>;

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
