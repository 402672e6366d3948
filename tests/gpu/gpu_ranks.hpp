// Several ranks on one GPU, in one process: their blocks are plain pointers to each other.
#pragma once

#include <cuda_runtime_api.h>

#include <memory>
#include <vector>

#include "backend/cuda/kernels.hpp"
#include "gpu/dispatch_case.hpp"

namespace braid::gpu_test {

// Zeroed device memory.
class DeviceMemory {
 public:
  explicit DeviceMemory(std::int64_t bytes);
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

// What the ranks keep from one operation to the next.
class GpuRanks {
 public:
  GpuRanks(const CaseShape& shape, int num_workers, std::int64_t timeout_ns);
  ~GpuRanks();
  GpuRanks(const GpuRanks&) = delete;
  GpuRanks& operator=(const GpuRanks&) = delete;

  // Its dispatch has no input and no output yet.
  cuda::DispatchKernelArgs args(int rank) const;
  const machine::TimeoutRecord& timeout(int rank) const { return timeouts_[rank]; }
  // As the device sees it, after cudaDeviceSynchronize.
  std::vector<std::byte> local(int rank) const;
  int num_ranks() const { return shape_.num_ranks; }

 private:
  CaseShape shape_;
  int num_workers_;
  std::int64_t timeout_ns_;
  std::vector<std::unique_ptr<DeviceMemory>> blocks_, locals_, statuses_;
  std::unique_ptr<DeviceMemory> peers_;
  machine::TimeoutRecord* timeouts_ = nullptr;
};

// One operation's input and output at one rank.
class GpuOperation {
 public:
  GpuOperation(const CaseShape& shape, const RankInput& input);
  void poison();
  void bind(protocol::DispatchArgs& args) const;
  RankOutput output(const GpuRanks& ranks, int rank) const;

 private:
  CaseShape shape_;
  std::unique_ptr<DeviceMemory> x_, topk_, weights_, out_x_, out_scales_, out_counts_;
};

}  // namespace braid::gpu_test
