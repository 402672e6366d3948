#include "backend/cpu/device.hpp"

#include <algorithm>
#include <cstring>
#include <thread>

#include "backend/cpu/shared_memory.hpp"

namespace braid::cpu {

int CpuDevice::num_workers() const {
  return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

std::shared_ptr<void> CpuDevice::allocate(std::size_t bytes) {
  const auto block = MappedBlock::anonymous(std::max<std::size_t>(bytes, 1));
  return {block, block->data()};
}

void CpuDevice::copy_in(void* to, const void* from, std::size_t bytes) {
  if (bytes > 0) std::memcpy(to, from, bytes);
}
void CpuDevice::copy_out(void* to, const void* from, std::size_t bytes) {
  if (bytes > 0) std::memcpy(to, from, bytes);
}
void CpuDevice::fill(void* to, std::byte value, std::size_t bytes) {
  if (bytes > 0) std::memset(to, static_cast<int>(value), bytes);
}

}  // namespace braid::cpu
