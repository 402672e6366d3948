// Tensors' memory where a rank computes, whatever that is.
#pragma once

#include <cstddef>
#include <map>
#include <memory>
#include <stdexcept>
#include <vector>

#include "braid/group.hpp"
#include "machine/device_backend.hpp"
#include "runtime/group_backend.hpp"

namespace braid::conformance {

// One rank's, all of it taken when it is made: while operations wait for each other nothing may be
// allocated on a GPU, since that may wait for them. Make it before a collective call, drop it when
// the rank's operations have ended.
class RankMemory {
 public:
  explicit RankMemory(Group& group) : device_(group.backend().shared_device()) {
    if (!is_host()) slab_ = device_->allocate(kBytes);
  }
  RankMemory(const RankMemory&) = delete;
  RankMemory& operator=(const RankMemory&) = delete;

  bool is_host() const { return device_->kind() == Backend::kCpu; }
  detail::DeviceBackend& device() const { return *device_; }

  std::byte* take(std::size_t bytes) {
    const std::size_t rounded = class_of(bytes);
    auto& idle = idle_[rounded];
    if (!idle.empty()) {
      std::byte* memory = idle.back();
      idle.pop_back();
      return memory;
    }
    if (used_ + rounded > kBytes) throw std::runtime_error("a rank's slab of memory is too small");
    std::byte* memory = static_cast<std::byte*>(slab_.get()) + used_;
    used_ += rounded;
    return memory;
  }
  void give_back(std::byte* memory, std::size_t bytes) { idle_[class_of(bytes)].push_back(memory); }

 private:
  static constexpr std::size_t kBytes = std::size_t{32} << 20;

  static std::size_t class_of(std::size_t bytes) {
    std::size_t rounded = 256;
    while (rounded < bytes) rounded *= 2;
    return rounded;
  }

  std::shared_ptr<detail::DeviceBackend> device_;
  std::shared_ptr<void> slab_;
  std::size_t used_ = 0;
  std::map<std::size_t, std::vector<std::byte*>> idle_;
};

// Values that the host writes and reads, and their image where the rank computes. On the CPU the
// two are one.
template <class T>
class Mirror {
 public:
  Mirror() = default;
  Mirror(RankMemory& memory, std::vector<T> values) { reset(memory, std::move(values)); }
  ~Mirror() { drop(); }
  Mirror(const Mirror&) = delete;
  Mirror& operator=(const Mirror&) = delete;

  // New values, in both places. What the old ones were for has ended.
  void reset(RankMemory& memory, std::vector<T> values) {
    drop();
    host = std::move(values);
    if (memory.is_host()) return;
    memory_ = &memory;
    bytes_ = host.size() * sizeof(T);
    image_ = memory.take(bytes_);
    upload();
  }

  // The same with an image that is somebody else's.
  void borrow(RankMemory& memory, T* image, std::vector<T> values) {
    drop();
    host = std::move(values);
    memory_ = &memory;
    bytes_ = host.size() * sizeof(T);
    image_ = reinterpret_cast<std::byte*>(image);
    borrowed_ = true;
    upload();
  }

  T* data() { return memory_ == nullptr ? host.data() : reinterpret_cast<T*>(image_); }

  void upload() { upload(0, host.size()); }
  void upload(std::size_t first, std::size_t count) {
    if (memory_ == nullptr) return;
    memory_->device().copy_in(image_ + first * sizeof(T), host.data() + first, count * sizeof(T));
  }
  void download() {
    if (memory_ != nullptr) memory_->device().copy_out(host.data(), image_, bytes_);
  }

  std::vector<T> host;

 private:
  void drop() {
    if (memory_ != nullptr && !borrowed_) memory_->give_back(image_, bytes_);
    memory_ = nullptr;
    borrowed_ = false;
  }

  RankMemory* memory_ = nullptr;  // none where the host's values are the image
  bool borrowed_ = false;
  std::byte* image_ = nullptr;
  std::size_t bytes_ = 0;
};

}  // namespace braid::conformance
