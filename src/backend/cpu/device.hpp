// The CPU as a device: the process's own memory, and streams of threads.
#pragma once

#include <memory>

#include "machine/device_backend.hpp"

namespace braid::cpu {

class CpuDevice final : public detail::DeviceBackend {
 public:
  Backend kind() const noexcept override { return Backend::kCpu; }
  int index() const noexcept override { return 0; }
  std::string name() const override { return "CPU"; }
  int num_workers() const override;
  std::shared_ptr<void> allocate(std::size_t bytes) override;
  void copy_in(void* to, const void* from, std::size_t bytes) override;
  void copy_out(void* to, const void* from, std::size_t bytes) override;
  void fill(void* to, std::byte value, std::size_t bytes) override;
  bool reaches(const void*) override { return true; }
  Stream make_stream() override { return Stream::cpu(); }
};

}  // namespace braid::cpu
