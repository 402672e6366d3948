#include "backend/cuda/device.hpp"

#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <map>

#include "backend/cuda/device_guard.hpp"
#include "backend/cuda/launch.hpp"
#include "backend/cuda/stream.hpp"
#include "base/check.hpp"
#include "base/env.hpp"

namespace braid::cuda {
namespace {

constexpr std::size_t kStagingBytes = std::size_t{1} << 20;
constexpr int kNeededMajor = 9;  // the kernels are built for sm_90a, which runs on 9.0 alone
constexpr int kNeededMinor = 0;

int attribute(cudaDeviceAttr what, int device) {
  int value = 0;
  check(cudaDeviceGetAttribute(&value, what, device), "cudaDeviceGetAttribute");
  return value;
}

std::string name_of(int device) {
  cudaDeviceProp properties{};
  check(cudaGetDeviceProperties(&properties, device), "cudaGetDeviceProperties");
  return properties.name;
}

// Before the process's first CUDA call, which reads them. Several ranks of a process wait for each
// other's kernels: each of their streams needs a hardware queue of its own (there are 8 by default,
// 32 at most), and no kernel may be loaded when it is first launched, since that waits for the
// device.
void prepare_environment() {
  static const bool kPrepared = [] {
    set_environment_default("CUDA_DEVICE_MAX_CONNECTIONS", "32");
    set_environment_default("CUDA_MODULE_LOADING", "EAGER");
    return true;
  }();
  (void)kPrepared;
}

void enable_peer_access(int from, int to) {
  int possible = 0;
  check(cudaDeviceCanAccessPeer(&possible, from, to), "cudaDeviceCanAccessPeer");
  if (possible == 0) {
    fail(
        ErrorCode::kMissing,
        "CUDA device {} has no peer access to device {}, which ranks on both need: NVLink, or PCIe "
        "with peer access",
        from, to);
  }
  const DeviceGuard guard(from);
  const cudaError_t status = cudaDeviceEnablePeerAccess(to, 0);
  if (status == cudaErrorPeerAccessAlreadyEnabled) {
    cudaGetLastError();
    return;
  }
  check(status, "cudaDeviceEnablePeerAccess");
}

}  // namespace

int num_devices() {
  prepare_environment();
  int count = 0;
  const cudaError_t status = cudaGetDeviceCount(&count);
  if (status != cudaSuccess || count == 0) {
    cudaGetLastError();
    fail(ErrorCode::kMissing,
         "no CUDA device is there ({}), but the backend cuda needs a GPU of compute capability "
         "{}.{} and its driver",
         status == cudaSuccess ? "none is visible" : cudaGetErrorString(status), kNeededMajor,
         kNeededMinor);
  }
  return count;
}

void check_device(int index) {
  const int count = num_devices();
  require(index >= 0 && index < count, "CUDA device is {}, but must be 0 to {}", index, count - 1);
  const int major = attribute(cudaDevAttrComputeCapabilityMajor, index);
  const int minor = attribute(cudaDevAttrComputeCapabilityMinor, index);
  if (major != kNeededMajor || minor != kNeededMinor) {
    fail(ErrorCode::kMissing,
         "CUDA device {} ({}) has compute capability {}.{}, but the backend cuda needs {}.{}",
         index, name_of(index), major, minor, kNeededMajor, kNeededMinor);
  }
}

void make_current(int index) {
  check_device(index);
  check(cudaSetDevice(index), "cudaSetDevice");
}

SharedDevice::SharedDevice(int its_index) : index(its_index) {
  check_device(index);
  name = name_of(index);
  num_sms = attribute(cudaDevAttrMultiProcessorCount, index);
  reaches_pageable = attribute(cudaDevAttrPageableMemoryAccess, index) != 0;
  std::array<char, 64> text{};
  check(cudaDeviceGetPCIBusId(text.data(), static_cast<int>(text.size()), index),
        "cudaDeviceGetPCIBusId");
  bus_id = text.data();
  memory = std::make_shared<MemoryPool>(index, MemoryPool::Kind::kDevice);
  pinned = std::make_shared<MemoryPool>(index, MemoryPool::Kind::kPinned);
  staging_ = pinned->take(kStagingBytes);
  const DeviceGuard guard(index);
  check(cudaStreamCreateWithFlags(&copies_, cudaStreamNonBlocking), "cudaStreamCreateWithFlags");
}

SharedDevice::~SharedDevice() {
  const DeviceGuard guard(index);
  cudaStreamDestroy(copies_);
}

void SharedDevice::copy_chunk(void* to, const void* from, std::size_t bytes) const {
  check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDefault, copies_), "cudaMemcpyAsync");
}

void SharedDevice::finish_copies() const {
  check(cudaStreamSynchronize(copies_), "cudaStreamSynchronize");
}

void SharedDevice::copy_in(void* to, const void* from, std::size_t bytes) {
  const std::lock_guard lock(mutex_);
  const DeviceGuard guard(index);
  for (std::size_t at = 0; at < bytes; at += kStagingBytes) {
    const std::size_t chunk = std::min(kStagingBytes, bytes - at);
    std::memcpy(staging_.get(), static_cast<const std::byte*>(from) + at, chunk);
    copy_chunk(static_cast<std::byte*>(to) + at, staging_.get(), chunk);
    finish_copies();
  }
}

void SharedDevice::copy_out(void* to, const void* from, std::size_t bytes) {
  const std::lock_guard lock(mutex_);
  const DeviceGuard guard(index);
  for (std::size_t at = 0; at < bytes; at += kStagingBytes) {
    const std::size_t chunk = std::min(kStagingBytes, bytes - at);
    copy_chunk(staging_.get(), static_cast<const std::byte*>(from) + at, chunk);
    finish_copies();
    std::memcpy(static_cast<std::byte*>(to) + at, staging_.get(), chunk);
  }
}

void SharedDevice::fill(void* to, std::byte value, std::size_t bytes) {
  const std::lock_guard lock(mutex_);
  const DeviceGuard guard(index);
  // Not cudaMemset, which is a kernel.
  std::memset(staging_.get(), static_cast<int>(value), std::min(kStagingBytes, bytes));
  for (std::size_t at = 0; at < bytes; at += kStagingBytes) {
    copy_chunk(static_cast<std::byte*>(to) + at, staging_.get(),
               std::min(kStagingBytes, bytes - at));
  }
  finish_copies();
}

std::string CudaDevice::name() const {
  return fmt::format("CUDA device {} ({})", shared_->index, shared_->name);
}

std::string CudaDevice::place() const {
  std::array<char, 256> host{};
  gethostname(host.data(), host.size() - 1);
  return fmt::format("{} {}", host.data(), shared_->bus_id);
}

std::shared_ptr<void> CudaDevice::allocate(std::size_t bytes) {
  auto memory = shared_->memory->take(bytes);
  shared_->fill(memory.get(), std::byte{0}, bytes);
  return memory;
}

std::shared_ptr<std::byte> CudaDevice::allocate_pinned(std::size_t bytes) {
  auto memory = shared_->pinned->take(bytes);
  std::memset(memory.get(), 0, bytes);
  return memory;
}

void CudaDevice::copy_in(void* to, const void* from, std::size_t bytes) {
  shared_->copy_in(to, from, bytes);
}
void CudaDevice::copy_out(void* to, const void* from, std::size_t bytes) {
  shared_->copy_out(to, from, bytes);
}
void CudaDevice::fill(void* to, std::byte value, std::size_t bytes) {
  shared_->fill(to, value, bytes);
}

bool CudaDevice::reaches(const void* pointer) {
  const auto address = reinterpret_cast<std::uintptr_t>(pointer);
  auto& place = reached_[(address >> 8 ^ address >> 16) % reached_.size()];
  if (place.load(std::memory_order_relaxed) == pointer) return true;
  cudaPointerAttributes attributes{};
  if (cudaPointerGetAttributes(&attributes, pointer) != cudaSuccess) {
    cudaGetLastError();
    return false;
  }
  const bool good =
      (attributes.type == cudaMemoryTypeUnregistered && shared_->reaches_pageable) ||
      attributes.type == cudaMemoryTypeHost || attributes.type == cudaMemoryTypeManaged ||
      (attributes.type == cudaMemoryTypeDevice && attributes.device == shared_->index);
  if (good) place.store(pointer, std::memory_order_relaxed);
  return good;
}

Stream CudaDevice::make_stream() { return Stream(CudaStream::make(shared_->index)); }

std::vector<std::shared_ptr<CudaDevice>> open_devices(int num_ranks,
                                                      const std::vector<int>& named) {
  const int count = num_devices();
  std::map<int, std::shared_ptr<SharedDevice>> shared;
  std::vector<std::shared_ptr<CudaDevice>> devices;
  for (int rank = 0; rank < num_ranks; ++rank) {
    const int index = named.empty() ? rank % count : named[static_cast<std::size_t>(rank)];
    auto& device = shared[index];
    if (device == nullptr) device = std::make_shared<SharedDevice>(index);
    devices.push_back(std::make_shared<CudaDevice>(device));
  }
  for (const auto& [from, device] : shared) {
    for (const auto& [to, other] : shared) {
      if (from != to) enable_peer_access(from, to);
    }
  }
  return devices;
}

}  // namespace braid::cuda
