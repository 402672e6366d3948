#include "backend/cuda/memory_pool.hpp"

#include <cuda_runtime_api.h>

#include <algorithm>
#include <cstdint>

#include "backend/cuda/device_guard.hpp"
#include "backend/cuda/launch.hpp"
#include "base/check.hpp"
#include "base/math.hpp"

namespace braid::cuda {
namespace {

constexpr std::size_t kAlignment = 4096;

}  // namespace

MemoryPool::~MemoryPool() { free_idle(); }

std::shared_ptr<std::byte> MemoryPool::take(std::size_t bytes) {
  const Block block = find(std::max<std::size_t>(bytes, 1));
  return {block.data, [pool = shared_from_this(), block](std::byte*) {
            const std::lock_guard lock(pool->mutex_);
            pool->idle_.emplace(block.bytes, block);
          }};
}

MemoryPool::Block MemoryPool::find(std::size_t bytes) {
  const std::lock_guard lock(mutex_);
  const auto fits = idle_.lower_bound(bytes);
  // A block that is much too large stays for those that need it.
  if (fits != idle_.end() && fits->first <= std::max(2 * bytes, 16 * kAlignment)) {
    const Block block = fits->second;
    idle_.erase(fits);
    return block;
  }
  return fresh(bytes);
}

MemoryPool::Block MemoryPool::fresh(std::size_t bytes) {
  const std::size_t rounded = (bytes + kAlignment - 1) / kAlignment * kAlignment;
  void* start = ask_driver(rounded + kAlignment);
  if (start == nullptr) {
    free_idle();
    start = ask_driver(rounded + kAlignment);
  }
  if (start == nullptr) {
    fail(ErrorCode::kMissing, "can't allocate {} bytes of {} for CUDA device {}: out of memory",
         bytes, kind_ == Kind::kDevice ? "device memory" : "pinned host memory", device_);
  }
  const auto address = reinterpret_cast<std::uintptr_t>(start);
  const std::uintptr_t skip = (kAlignment - address % kAlignment) % kAlignment;
  return {start, static_cast<std::byte*>(start) + skip, rounded};
}

void* MemoryPool::ask_driver(std::size_t bytes) const {
  const DeviceGuard guard(device_);
  void* memory = nullptr;
  const cudaError_t status =
      kind_ == Kind::kDevice
          ? cudaMalloc(&memory, bytes)
          : cudaHostAlloc(&memory, bytes, cudaHostAllocMapped | cudaHostAllocPortable);
  if (status == cudaErrorMemoryAllocation) {
    cudaGetLastError();  // it would stay the thread's last error, for whoever asks next
    return nullptr;
  }
  check(status, kind_ == Kind::kDevice ? "cudaMalloc" : "cudaHostAlloc");
  return memory;
}

void MemoryPool::free_idle() {
  const DeviceGuard guard(device_);
  for (const auto& [bytes, block] : idle_) {
    if (kind_ == Kind::kDevice) {
      cudaFree(block.start);
    } else {
      cudaFreeHost(block.start);
    }
  }
  idle_.clear();
}

}  // namespace braid::cuda
