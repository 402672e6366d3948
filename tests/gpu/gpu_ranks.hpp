// Several ranks in one process, on one GPU or on several: their blocks are plain pointers to each
// other.
#pragma once

#include <cuda_runtime_api.h>

#include <memory>
#include <vector>

#include "backend/cuda/kernels.hpp"
#include "gpu/role_case.hpp"

namespace braid::gpu_test {

// Zeroed memory of a device.
class DeviceMemory {
 public:
  explicit DeviceMemory(std::int64_t bytes, int device = 0);
  ~DeviceMemory();
  DeviceMemory(const DeviceMemory&) = delete;
  DeviceMemory& operator=(const DeviceMemory&) = delete;

  std::byte* data() const { return data_; }
  std::int64_t bytes() const { return bytes_; }
  void upload(const void* from);  // all of it
  void download(void* to) const;
  void poison();

 private:
  std::byte* data_ = nullptr;
  std::int64_t bytes_ = 0;
};

// What ranks of either kind of buffer keep from one operation to the next.
class GpuMachines {
 public:
  // Rank r is on device r % num_devices.
  GpuMachines(const BlockSizes& sizes, int num_workers, std::int64_t timeout_ns,
              int num_devices = 1);
  ~GpuMachines();
  GpuMachines(const GpuMachines&) = delete;
  GpuMachines& operator=(const GpuMachines&) = delete;

  int device(int rank) const { return rank % num_devices_; }
  cuda::MachineArgs machine(int rank) const;  // but for the shared memory's map
  const machine::TimeoutRecord& timeout(int rank) const { return timeouts_[rank]; }
  const DeviceMemory& symmetric(int rank) const {
    return *symmetric_[static_cast<std::size_t>(rank)];
  }
  const DeviceMemory& local(int rank) const { return *locals_[static_cast<std::size_t>(rank)]; }

 private:
  BlockSizes sizes_;
  int num_workers_;
  std::int64_t timeout_ns_;
  int num_devices_;
  std::vector<std::unique_ptr<DeviceMemory>> symmetric_, locals_, statuses_, peers_;
  machine::TimeoutRecord* timeouts_ = nullptr;
};

// The same for the low-latency buffer of a case.
class GpuRanks {
 public:
  GpuRanks(const CaseShape& shape, int num_workers, std::int64_t timeout_ns, int num_devices = 1);

  int device(int rank) const { return machines_.device(rank); }
  // Without input and output yet.
  cuda::DispatchKernelArgs args(int rank) const;
  cuda::CombineKernelArgs combine_args(int rank) const;
  const machine::TimeoutRecord& timeout(int rank) const { return machines_.timeout(rank); }
  // As the device sees it, after cudaDeviceSynchronize.
  std::vector<std::byte> local(int rank) const;
  int num_ranks() const { return shape_.num_ranks; }

 private:
  CaseShape shape_;
  GpuMachines machines_;
};

// One operation's input and output at one rank.
class GpuOperation {
 public:
  GpuOperation(const CaseShape& shape, const RankInput& input, int device = 0);
  void poison();
  void bind(protocol::DispatchArgs& args) const;
  // The experts' outputs, and room for the combined tokens.
  void give_rows(const std::uint16_t* rows);
  void give_rows_of(const GpuOperation& other);
  void bind(protocol::CombineArgs& args) const;
  std::vector<std::uint16_t> combined() const;
  RankOutput output(const GpuRanks& ranks, int rank) const;

 private:
  CaseShape shape_;
  int device_;
  std::unique_ptr<DeviceMemory> rows_, combined_;
  std::unique_ptr<DeviceMemory> x_, topk_, weights_, out_x_, out_scales_, out_counts_;
};

}  // namespace braid::gpu_test
