#include "gpu/nested_sums.hpp"

#include "backend/cuda/launch.hpp"
#include "backend/cuda/warp_rows.cuh"

namespace braid::gpu_test {
namespace {

constexpr int kWarps = 3;

struct Args {
  NestedSums sums;
  cuda::SharedMap map;
};

extern __shared__ __align__(cuda::kSharedAlignment) std::byte nested_memory[];

class Summer : public cuda::WarpRows {
 public:
  __device__ Summer(const cuda::SharedMap& map, std::byte* shared) : WarpRows(map, shared) {}

  __device__ void sum(const NestedSums& a, int i) {
    const NestedTerms terms = a.terms[i];
    const machine::NestedSum sum{a.rows + i * kMostTerms, a.weights + i * kMostTerms,
                                 terms.num_inner,         terms.num_plain,
                                 terms.inner_at,          a.hidden};
    std::byte* out = a.out + std::int64_t{2} * a.hidden * i;
    if (a.go == SumsGo::kToMemory) return sum_nested(sum, out);
    put_nested(sum, out);
    leave_row();
    if (i % 3 == 0) skip_row();
    drain_rows(1);
  }
};

__global__ void __launch_bounds__(kWarps* cuda::kWarpLanes, 1)
    nested_sums_kernel(const __grid_constant__ Args args) {
  Summer summer(args.map, nested_memory);
  for (int i = Summer::warp(); i < args.sums.count; i += kWarps) summer.sum(args.sums, i);
  summer.drain_rows(0);
}

}  // namespace

void launch_nested_sums(const NestedSums& sums, cudaStream_t stream) {
  const cuda::SharedNeeds needs{0, sums.ring_steps * cuda::kStepBytes, 0, 0};
  const auto map = cuda::SharedMap::of(needs, {kWarps, kWarps, 1, 1});
  cuda::launch(nested_sums_kernel, {1, map.num_threads(), map.bytes, cuda::Residency::kAny, stream},
               Args{sums, map});
}

}  // namespace braid::gpu_test
