#include "gpu/test_kernels.hpp"

#include "backend/cuda/launch.hpp"
#include "backend/cuda/rows.cuh"
#include "backend/cuda/shared_map.hpp"
#include "codec/e4m3.hpp"
#include "ptx/bulk_copy.cuh"
#include "ptx/convert.cuh"
#include "ptx/memory_order.cuh"

namespace braid::gpu_test {
namespace {

constexpr int kThreads = 512;

extern __shared__ __align__(cuda::kSharedAlignment) std::byte probe_memory[];

__global__ void __launch_bounds__(kThreads, 1)
    empty_kernel(const __grid_constant__ cuda::DispatchKernelArgs args) {}

__device__ void push(const PingPong& a, std::uint64_t value) {
  const auto thread = static_cast<int>(threadIdx.x);
  auto* flag = reinterpret_cast<std::uint64_t*>(a.theirs + a.bytes);
  if (a.push == Push::kStores) {
    for (std::int64_t i = thread; i < a.bytes / 16; i += kThreads) {
      reinterpret_cast<uint4*>(a.theirs)[i] = reinterpret_cast<const uint4*>(probe_memory)[i];
    }
    __syncthreads();
  }
  if (thread != 0) return;
  if (a.push == Push::kBulk) {
    ptx::bulk_copy_shared_to_global(a.theirs, probe_memory, static_cast<std::uint32_t>(a.bytes));
    ptx::bulk_commit_group();
    ptx::bulk_wait_group<0>();
  }
  ptx::st_release_sys_u64(flag, value);
}

__device__ void await(const PingPong& a, std::uint64_t value) {
  if (threadIdx.x == 0) {
    const auto* flag = reinterpret_cast<const std::uint64_t*>(a.mine + a.bytes);
    const std::uint64_t start = ptx::globaltimer_ns();
    while (ptx::ld_acquire_sys_u64(flag) < value) {
      if (ptx::globaltimer_ns() - start > static_cast<std::uint64_t>(a.timeout_ns)) break;
    }
  }
  __syncthreads();
}

__global__ void __launch_bounds__(kThreads, 1) ping_pong(const __grid_constant__ PingPong a) {
  for (std::int64_t i = threadIdx.x; i < a.bytes / 16; i += kThreads) {
    reinterpret_cast<uint4*>(probe_memory)[i] = uint4{1, 2, 3, static_cast<unsigned>(i)};
  }
  ptx::fence_proxy_async_shared_cta();
  __syncthreads();
  for (std::int32_t turn = 1; turn <= a.turns; ++turn) {
    const std::uint64_t value = a.base + static_cast<std::uint64_t>(turn);
    if (a.first == 0) await(a, value);
    push(a, value);
    if (a.first != 0) await(a, value);
  }
}

// Of two BF16 in one word: their sum as two rows' channels, in either order and as a vector's.
__device__ bool differs_in_sum(std::uint32_t both) {
  const auto low = static_cast<std::uint16_t>(both);
  const auto high = static_cast<std::uint16_t>(both >> 16);
  const float first = codec::accumulate(0.0F, 1.0F, codec::bf16_to_float(low));
  const std::uint32_t sum =
      codec::sum_to_bf16(codec::accumulate(first, 1.0F, codec::bf16_to_float(high)));
  const std::uint32_t expected = sum | sum << 16;
  const std::uint32_t pair = cuda::two_pairs_sum(both, both >> 16 | both << 16);
  uint4 vector[1] = {{0x3f803f80u, pair, 0x80008000u, pair}};
  cuda::take_codec_nan(vector);
  return cuda::with_codec_nan(pair) != expected || vector[0].y != expected ||
         vector[0].w != expected || vector[0].x != 0x3f803f80u || vector[0].z != 0x80008000u;
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
    const std::uint32_t sums = codec::sum_to_bf16(value) | std::uint32_t{codec::sum_to_bf16(other)}
                                                               << 16;
    found += cuda::two_sums(value, other) != sums ? 1 : 0;
    found += differs_in_sum(static_cast<std::uint32_t>(bits)) ? 1 : 0;
  }
  if (found != 0) ptx::red_add_relaxed_gpu_u64(differences, found);
}

}  // namespace

void launch_empty(const cuda::DispatchKernelArgs& args, int blocks, bool cooperative,
                  cudaStream_t stream) {
  const auto residency = cooperative ? cuda::Residency::kAll : cuda::Residency::kAny;
  cuda::launch(empty_kernel, {blocks, kThreads, 64 * 1024, residency, stream}, args);
}

void launch_ping_pong(const PingPong& args, cudaStream_t stream) {
  cuda::launch(ping_pong, {1, kThreads, 32 * 1024, cuda::Residency::kAny, stream}, args);
}

void launch_conversion_check(std::uint64_t* differences, cudaStream_t stream) {
  cuda::launch(conversion_check, {1024, 256, 0, cuda::Residency::kAny, stream}, differences);
}

}  // namespace braid::gpu_test
