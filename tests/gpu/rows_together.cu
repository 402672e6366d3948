#include "gpu/rows_together.hpp"

#include "backend/cuda/launch.hpp"
#include "backend/cuda/machine.cuh"
#include "protocol/throughput_combine.hpp"
#include "protocol/throughput_dispatch.hpp"
#include "protocol/throughput_layout.hpp"

namespace braid::gpu_test {
namespace {

using Machine = cuda::CudaMachineOf<layout::ThroughputMap>;

constexpr int kMostThreads = cuda::kMostWarps * cuda::kWarpLanes;

extern __shared__ __align__(cuda::kSharedAlignment) std::byte rows_together_memory[];

// By value to a kernel.
template <class Args>
struct RanksArgs {
  const Args* ranks = nullptr;
  int workers = 1;  // of each rank
};

__device__ void run(Machine& m, const protocol::LayoutArgs& args) {
  protocol::layout_routing(m, args);
}
__device__ void run(Machine& m, const protocol::RowsDispatchArgs& args) {
  protocol::dispatch_rows(m, args);
}
__device__ void run(Machine& m, const protocol::RowsCombineArgs& args) {
  protocol::combine_rows(m, args);
}

template <class Args>
__global__ void __launch_bounds__(kMostThreads, 1)
    all_ranks(const __grid_constant__ RanksArgs<Args> all) {
  const int block = static_cast<int>(blockIdx.x);
  const Args& args = all.ranks[block / all.workers];
  Machine m(args.machine, args.operation.op.map, rows_together_memory, block % all.workers);
  run(m, args.operation);
}

template <class Args>
void launch_all(const RanksTogether<Args>& all, cudaStream_t stream) {
  const cuda::MachineArgs& machine = all.first().machine;
  const cuda::LaunchShape shape{all.num_ranks() * machine.num_workers, machine.shared.num_threads(),
                                max_of(machine.shared.bytes, machine.sending.bytes),
                                cuda::Residency::kAll, stream};
  cuda::launch(all_ranks<Args>, shape, RanksArgs<Args>{all.on_device(), machine.num_workers});
}

}  // namespace

void rows_together::layout(const RanksTogether<cuda::LayoutKernelArgs>& all, cudaStream_t stream) {
  launch_all(all, stream);
}
void rows_together::dispatch(const RanksTogether<cuda::RowsDispatchKernelArgs>& all,
                             cudaStream_t stream) {
  launch_all(all, stream);
}
void rows_together::combine(const RanksTogether<cuda::RowsCombineKernelArgs>& all,
                            cudaStream_t stream) {
  launch_all(all, stream);
}

}  // namespace braid::gpu_test
