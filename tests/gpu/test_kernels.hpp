// Kernels of the tests and of the bench: several ranks in one launch on one GPU, what a launch
// costs, what a link gives, and the check of a conversion.
#pragma once

#include <cstdint>

#include "backend/cuda/kernels.hpp"

namespace braid::gpu_test {

// Nothing.
void launch_empty(const cuda::DispatchKernelArgs& args, int blocks, bool cooperative,
                  cudaStream_t stream);

// How a message of `bytes` and its flag cross from one GPU to another.
enum class Push : std::int32_t {
  kFlagOnly,
  kStores,  // 16-byte stores by a block's threads, a barrier, a release
  kBulk,    // a bulk copy from shared memory, its completion, a release
};
struct PingPong {
  std::byte* mine = nullptr;    // row, then flag: written by the peer
  std::byte* theirs = nullptr;  // the same at the peer
  std::int64_t bytes = 0;       // of the row; a multiple of 16, at most 32 KB
  Push push = Push::kFlagOnly;
  std::int32_t first = 0;  // 1: this side begins
  std::int32_t turns = 0;  // there and back
  std::uint64_t base = 0;  // of the flag's values: grows from launch to launch
  std::int64_t timeout_ns = 2'000'000'000;
};
void launch_ping_pong(const PingPong& args, cudaStream_t stream);

// Compares cvt_rn_satfinite_e4m3x2_f32 with codec::float_to_e4m3 on all floats; *differences
// (device memory) is added to.
void launch_conversion_check(std::uint64_t* differences, cudaStream_t stream);

}  // namespace braid::gpu_test
