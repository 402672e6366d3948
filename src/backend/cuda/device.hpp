// A GPU that ranks compute on.
#pragma once

#include <cuda_runtime_api.h>

#include <array>
#include <atomic>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "backend/cuda/memory_pool.hpp"
#include "machine/device_backend.hpp"
#include "machine/order.hpp"

namespace braid::cuda {

// What the ranks of one process on one device share.
class SharedDevice {
 public:
  explicit SharedDevice(int index);
  ~SharedDevice();
  SharedDevice(const SharedDevice&) = delete;
  SharedDevice& operator=(const SharedDevice&) = delete;

  int index = 0;
  std::string name;
  std::string bus_id;
  int num_sms = 0;
  bool reaches_pageable = false;  // the host's memory, as it is
  std::shared_ptr<MemoryPool> memory, pinned;

  // Through pinned memory and a stream of their own: a copy engine does them, so that they need no
  // SM that a waiting kernel may hold. One at a time: few streams, so that the device's hardware
  // queues are enough for one each.
  void copy_in(void* to, const void* from, std::size_t bytes);
  void copy_out(void* to, const void* from, std::size_t bytes);
  void fill(void* to, std::byte value, std::size_t bytes);

 private:
  void copy_chunk(void* to, const void* from, std::size_t bytes) const;
  void finish_copies() const;

  std::mutex mutex_;
  cudaStream_t copies_ = nullptr;
  std::shared_ptr<std::byte> staging_;
};

// Of one rank's launches.
struct LaunchOrder {
  std::mutex mutex;
  braid::detail::Order order;
};

// One rank's.
class CudaDevice final : public braid::detail::DeviceBackend {
 public:
  explicit CudaDevice(std::shared_ptr<SharedDevice> shared) : shared_(std::move(shared)) {}

  Backend kind() const noexcept override { return Backend::kCuda; }
  int index() const noexcept override { return shared_->index; }
  std::string name() const override;
  int num_workers() const override { return shared_->num_sms; }
  std::string place() const override;
  std::shared_ptr<void> allocate(std::size_t bytes) override;
  void copy_in(void* to, const void* from, std::size_t bytes) override;
  void copy_out(void* to, const void* from, std::size_t bytes) override;
  void fill(void* to, std::byte value, std::size_t bytes) override;
  bool reaches(const void* pointer) override;
  Stream make_stream() override;

  std::shared_ptr<std::byte> allocate_pinned(std::size_t bytes);
  LaunchOrder& launches() { return launches_; }

 private:
  std::shared_ptr<SharedDevice> shared_;
  LaunchOrder launches_;
  // By a hash of the pointer: those that were found good. Asking the driver each time would be a
  // good part of a host call.
  std::array<std::atomic<const void*>, 256> reached_{};
};

// Visible ones; throws kMissing where there is none, or no driver.
int num_devices();

// Throws kInvalidArgument for a number that is no device's, kMissing for a device that Braid's
// kernels don't run on.
void check_device(int index);

// The calling thread's current device from now on. Where it had none, whoever puts "the one before"
// back makes a context on device 0, which takes memory there for every rank of the host.
void make_current(int index);

// For ranks of this process, by rank, with peer access between all of them. named: their numbers,
// or none: rank modulo the number of devices.
std::vector<std::shared_ptr<CudaDevice>> open_devices(int num_ranks, const std::vector<int>& named);

}  // namespace braid::cuda
