// Memory of one device, or pinned memory of the host, that goes back to the driver only when the
// pool ends: cudaFree waits for everything that runs on the device, also for a kernel that waits
// for a launch that the caller has still to make.
#pragma once

#include <cstddef>
#include <map>
#include <memory>
#include <mutex>

namespace braid::cuda {

class MemoryPool : public std::enable_shared_from_this<MemoryPool> {
 public:
  enum class Kind { kDevice, kPinned };
  MemoryPool(int device, Kind kind) : device_(device), kind_(kind) {}
  ~MemoryPool();
  MemoryPool(const MemoryPool&) = delete;
  MemoryPool& operator=(const MemoryPool&) = delete;

  // 4096-aligned; what is in it is left over. The pool lives as long as any of its memory is held.
  // Throws kMissing where there is not enough.
  std::shared_ptr<std::byte> take(std::size_t bytes);

 private:
  struct Block {
    void* start = nullptr;
    std::byte* data = nullptr;  // within, aligned
    std::size_t bytes = 0;      // from data on
  };
  Block fresh(std::size_t bytes);
  Block find(std::size_t bytes);
  void* ask_driver(std::size_t bytes) const;  // null where there is not enough
  void free_idle();

  int device_;
  Kind kind_;
  std::mutex mutex_;
  std::multimap<std::size_t, Block> idle_;  // by bytes
};

}  // namespace braid::cuda
