// Memory for a tensor, without touching it: outputs are sized for the worst case, and pages that
// no row reaches are never taken from the system.
#pragma once

#include <cstddef>
#include <initializer_list>
#include <memory>
#include <new>
#include <string>

#include "braid/tensor.hpp"

namespace braid::app {

class Block {
 public:
  Block() = default;
  // Uninitialized.
  Block(DType dtype, std::initializer_list<std::int64_t> shape) : tensor_(nullptr, dtype, shape) {
    memory_.reset(static_cast<std::byte*>(
        ::operator new (tensor_.num_bytes() + kAlignment, std::align_val_t{kAlignment})));
    tensor_.data = memory_.get();  // never null, also where the tensor has no element
  }

  const Tensor& tensor() const { return tensor_; }
  template <class T>
  T* as() const {
    return tensor_.as<T>();
  }
  std::string bytes() const {
    return tensor_.empty() ? std::string() : std::string(as<const char>(), tensor_.num_bytes());
  }

 private:
  static constexpr std::size_t kAlignment = 64;
  struct Free {
    void operator()(std::byte* memory) const {
      ::operator delete (memory, std::align_val_t{kAlignment});
    }
  };
  Tensor tensor_;
  std::unique_ptr<std::byte, Free> memory_;
};

}  // namespace braid::app
