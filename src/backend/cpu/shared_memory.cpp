#include "backend/cpu/shared_memory.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <limits>

#include "base/check.hpp"

namespace braid::cpu {

std::shared_ptr<MappedBlock> MappedBlock::anonymous(std::size_t bytes) {
  return map(MAP_PRIVATE | MAP_ANONYMOUS, -1, bytes);
}

std::shared_ptr<MappedBlock> MappedBlock::shared(int descriptor, std::size_t bytes) {
  struct stat status {};
  if (fstat(descriptor, &status) != 0) {
    fail(ErrorCode::kInternal, "a peer's shared memory can't be examined: {}",
         std::strerror(errno));
  }
  if (static_cast<std::size_t>(status.st_size) < bytes) {
    fail(ErrorCode::kInternal, "a peer's shared memory has {} bytes, but must have {}",
         status.st_size, bytes);
  }
  return map(MAP_SHARED, descriptor, bytes);
}

std::shared_ptr<MappedBlock> MappedBlock::map(int flags, int descriptor, std::size_t bytes) {
  require(bytes > 0, "a memory block of 0 bytes can't be mapped");
  void* data = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, flags | MAP_NORESERVE, descriptor, 0);
  if (data == MAP_FAILED) {
    fail(ErrorCode::kMissing, "can't map {} bytes of memory: {}", bytes, std::strerror(errno));
  }
  return std::shared_ptr<MappedBlock>(new MappedBlock(static_cast<std::byte*>(data), bytes));
}

MappedBlock::~MappedBlock() { munmap(data_, bytes_); }

int create_shared_memory(std::size_t bytes) {
  require(bytes <= static_cast<std::size_t>(std::numeric_limits<off_t>::max()),
          "shared memory of {} bytes is more than a file can hold", bytes);
  const int descriptor = memfd_create("braid", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (descriptor < 0) {
    fail(ErrorCode::kMissing, "can't create shared memory: {}", std::strerror(errno));
  }
  if (ftruncate(descriptor, static_cast<off_t>(bytes)) != 0 ||
      fcntl(descriptor, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0) {
    const int error = errno;
    close(descriptor);
    fail(ErrorCode::kMissing, "can't create shared memory of {} bytes: {}", bytes,
         std::strerror(error));
  }
  return descriptor;
}

}  // namespace braid::cpu
