// Where a rank computes: its memory, its streams, how wide it is.
#pragma once

#include <cstddef>
#include <memory>
#include <string>

#include "braid/device.hpp"
#include "braid/stream.hpp"

namespace braid::detail {

class DeviceBackend {
 public:
  virtual ~DeviceBackend() = default;
  virtual Backend kind() const noexcept = 0;
  virtual int index() const noexcept = 0;           // the CUDA device; 0 on the CPU
  virtual std::string name() const = 0;             // fit for a report
  virtual int num_workers() const = 0;              // SMs, or hardware threads
  virtual std::string place() const { return ""; }  // the same for ranks that share the device

  // Zeroed, 4096-aligned. From a pool that returns nothing to the driver while a rank of this
  // device lives, since that would wait for everything that runs there, also for an operation that
  // waits for the caller. Taking memory anew may wait in the same way: a program takes what it
  // needs before its operations begin. Throws kMissing where there is not enough.
  virtual std::shared_ptr<void> allocate(std::size_t bytes) = 0;

  // Between the host's memory and this device's. Each blocks until it is done, is ordered with no
  // stream, and waits for no operation.
  virtual void copy_in(void* to, const void* from, std::size_t bytes) = 0;
  virtual void copy_out(void* to, const void* from, std::size_t bytes) = 0;
  virtual void fill(void* to, std::byte value, std::size_t bytes) = 0;

  // Whether operations on this device can use the memory. Cheap; a pointer that was good once may
  // be taken for good again.
  virtual bool reaches(const void* pointer) = 0;

  virtual Stream make_stream() = 0;
};

}  // namespace braid::detail
