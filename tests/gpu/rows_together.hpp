// High throughput's roles, all ranks of one GPU in one launch, whose block index selects the rank;
// see together.hpp for why.
#pragma once

#include <vector>

#include "backend/cuda/throughput_kernels.hpp"
#include "gpu/gpu_ranks.hpp"

namespace braid::gpu_test {

// The arguments of all ranks in device memory; every rank has the same workers and shape.
template <class Args>
class RanksTogether {
 public:
  explicit RanksTogether(const std::vector<Args>& ranks)
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

namespace rows_together {
void layout(const RanksTogether<cuda::LayoutKernelArgs>& all, cudaStream_t stream);
void dispatch(const RanksTogether<cuda::RowsDispatchKernelArgs>& all, cudaStream_t stream);
void combine(const RanksTogether<cuda::RowsCombineKernelArgs>& all, cudaStream_t stream);
}  // namespace rows_together

}  // namespace braid::gpu_test
