// Memory that ranks share: threads by pointer, processes by a descriptor. Nothing has a name in a
// file system, so nothing is left behind however a process ends.
#pragma once

#include <cstddef>
#include <memory>

namespace braid::cpu {

// A zero-filled, page-aligned mapping. Pages cost memory when they are first touched, not before:
// blocks are sized for the worst case and mostly stay empty.
class MappedBlock {
 public:
  // Private to this process.
  static std::shared_ptr<MappedBlock> anonymous(std::size_t bytes);
  // Of a descriptor from create_shared_memory, which may be closed afterwards. The descriptor must
  // really hold that many bytes: a shorter one is refused, not met by SIGBUS later.
  static std::shared_ptr<MappedBlock> shared(int descriptor, std::size_t bytes);

  ~MappedBlock();
  MappedBlock(const MappedBlock&) = delete;
  MappedBlock& operator=(const MappedBlock&) = delete;

  std::byte* data() const { return data_; }
  std::size_t bytes() const { return bytes_; }

 private:
  MappedBlock(std::byte* data, std::size_t bytes) : data_(data), bytes_(bytes) {}
  static std::shared_ptr<MappedBlock> map(int flags, int descriptor, std::size_t bytes);

  std::byte* data_;
  std::size_t bytes_;
};

// A new descriptor (close-on-exec) of that many zero bytes, whose size can't change any more. The
// caller closes it.
int create_shared_memory(std::size_t bytes);

}  // namespace braid::cpu
