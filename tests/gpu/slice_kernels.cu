#include "gpu/slice_kernels.hpp"

#include "backend/cuda/launch.hpp"
#include "backend/cuda/machine.cuh"
#include "codec/e4m3.hpp"
#include "gpu/specialized.cuh"
#include "protocol/dispatch_both.hpp"

namespace braid::gpu_test {
namespace {

using cuda::kMostWarps;
using cuda::kWarpLanes;

constexpr int kMostThreads = kMostWarps * kWarpLanes;

extern __shared__ __align__(cuda::kSharedAlignment) std::byte block_memory[];

struct Place {
  int rank;
  int worker;
};

__device__ Place this_place(const PairArgs& args) {
  const int blocks = args.rank[0].machine.num_workers;
  const int block = static_cast<int>(blockIdx.x);
  return {block / blocks, block % blocks};
}

__device__ std::uint64_t* stamps_of(const PairArgs& args) {
  return args.stamps == nullptr ? nullptr : args.stamps + blockIdx.x * kStamps;
}

__device__ void stamp(std::uint64_t* stamps, int i) {
  if (stamps != nullptr && threadIdx.x == 0) stamps[i] = ptx::globaltimer_ns();
}

__global__ void __launch_bounds__(kMostThreads, 1)
    generic_pair(const __grid_constant__ PairArgs args) {
  const Place place = this_place(args);
  const cuda::DispatchKernelArgs& a = args.rank[place.rank];
  std::uint64_t* stamps = stamps_of(args);
  stamp(stamps, 0);
  cuda::CudaMachine m(a.machine, a.dispatch.op.map, block_memory, place.worker);
  protocol::dispatch(m, a.dispatch);
  stamp(stamps, 1);
}

// The same role where the compiler knows the shape: fields become constants, and the rest of the
// role follows. T stays open.
__device__ void fix_shape(protocol::DispatchArgs& a) {
  constexpr layout::BufferShape shape = [] {
    layout::BufferShape known;
    known.num_ranks = special::kRanks;
    known.num_experts = special::kExperts;
    known.hidden = special::kHidden;
    known.top_k = special::kTopK;
    known.widest_dispatch = DispatchFormat::kFp8;
    return known;
  }();
  const int max_tokens = a.op.map.shape.max_tokens;
  a.op.map.shape = a.op.local_map.shape = shape;
  a.op.map.shape.max_tokens = a.op.local_map.shape.max_tokens = max_tokens;
  a.op.map.slots_per_source = max_tokens;
  a.op.map.message_stride = shape.message_stride();
  a.rules = {{shape.num_experts, shape.num_ranks, 1}, false};
  a.topk.k = shape.top_k;
  a.topk.num_experts = shape.num_experts;
  a.topk.is_int64 = false;
  a.format = DispatchFormat::kFp8;
  a.received_total = nullptr;
  a.waited_ns = nullptr;
}

__global__ void __launch_bounds__(kMostThreads, 1)
    fixed_pair(const __grid_constant__ PairArgs args) {
  const Place place = this_place(args);
  std::uint64_t* stamps = stamps_of(args);
  stamp(stamps, 0);
  const cuda::DispatchKernelArgs& given = args.rank[place.rank];
  protocol::DispatchArgs a = given.dispatch;
  fix_shape(a);
  cuda::CudaMachine m(given.machine, given.dispatch.op.map, block_memory, place.worker);
  protocol::dispatch(m, a);
  stamp(stamps, 1);
}

__global__ void __launch_bounds__(kMostThreads, 1)
    specialized_pair(const __grid_constant__ PairArgs args) {
  const Place place = this_place(args);
  std::uint64_t* stamps = stamps_of(args);
  stamp(stamps, 0);
  special::dispatch(args.rank[place.rank], *reinterpret_cast<special::Shared*>(block_memory),
                    place.worker);
  stamp(stamps, 1);
}

__global__ void __launch_bounds__(kMostThreads, 1)
    empty_pair(const __grid_constant__ PairArgs args) {
  stamp(stamps_of(args), 0);
}

__global__ void conversion_check(std::uint64_t* differences) {
  const std::uint64_t step = std::uint64_t{gridDim.x} * blockDim.x;
  std::uint64_t found = 0;
  for (std::uint64_t bits = std::uint64_t{blockIdx.x} * blockDim.x + threadIdx.x;
       bits < std::uint64_t{1} << 32; bits += step) {
    const float value = codec::float_from_bits(static_cast<std::uint32_t>(bits));
    const std::uint32_t code = codec::float_to_e4m3(value);
    const float other = codec::float_from_bits(static_cast<std::uint32_t>(~bits));
    const std::uint32_t expected = code | std::uint32_t{codec::float_to_e4m3(other)} << 8;
    found += ptx::cvt_rn_satfinite_e4m3x2_f32(other, value) != expected ? 1 : 0;
  }
  if (found != 0) ptx::red_add_relaxed_gpu_u64(differences, found);
}

cuda::LaunchShape shape_of(const PairArgs& args, int threads, std::int64_t shared_bytes,
                           cudaStream_t stream) {
  return {2 * args.rank[0].machine.num_workers, threads, shared_bytes, cuda::Residency::kAny,
          stream};
}

}  // namespace

void launch_generic_pair(const PairArgs& args, cudaStream_t stream) {
  const cuda::SharedMap& shared = args.rank[0].machine.shared;
  cuda::launch(generic_pair, shape_of(args, shared.num_warps * kWarpLanes, shared.bytes, stream),
               args);
}

void launch_fixed_pair(const PairArgs& args, cudaStream_t stream) {
  const cuda::SharedMap& shared = args.rank[0].machine.shared;
  cuda::launch(fixed_pair, shape_of(args, shared.num_warps * kWarpLanes, shared.bytes, stream),
               args);
}

void launch_specialized_pair(const PairArgs& args, cudaStream_t stream) {
  cuda::launch(specialized_pair, shape_of(args, special::kThreads, sizeof(special::Shared), stream),
               args);
}

void launch_empty_pair(const PairArgs& args, cudaStream_t stream) {
  cuda::launch(empty_pair,
               shape_of(args, special::kThreads, args.rank[0].machine.shared.bytes, stream), args);
}

void launch_conversion_check(std::uint64_t* differences, cudaStream_t stream) {
  cuda::launch(conversion_check, {1024, 256, 0, cuda::Residency::kAny, stream}, differences);
}

}  // namespace braid::gpu_test
