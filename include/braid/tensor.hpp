// A view of memory that somebody else owns: pointer, element type, shape. Row-major, contiguous.
//
// A Tensor never allocates, frees or copies. Whoever passes one keeps the memory alive, and
// unchanged where it is an input, until the operation that uses it has ended (Event::wait).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>

namespace braid {

enum class DType : std::uint8_t {
  kBFloat16,    // 2 bytes, the upper half of an IEEE float32
  kFloat32,     // 4 bytes
  kFloat8E4M3,  // 1 byte, 4 exponent and 3 mantissa bits, no infinity (OCP "E4M3", "e4m3fn")
  kInt32,       // 4 bytes
  kInt64,       // 8 bytes
  kUint8,       // 1 byte, opaque
};

constexpr std::size_t element_bytes(DType dtype) {
  switch (dtype) {
    case DType::kBFloat16: return 2;
    case DType::kFloat32: return 4;
    case DType::kFloat8E4M3: return 1;
    case DType::kInt32: return 4;
    case DType::kInt64: return 8;
    case DType::kUint8: return 1;
  }
  return 0;
}

// "bf16", "f32", "f8_e4m3", "i32", "i64", "u8".
const char* to_string(DType dtype) noexcept;

struct Tensor {
  static constexpr int kMaxRank = 4;

  void* data = nullptr;
  DType dtype = DType::kUint8;
  int rank = 0;                                // number of dimensions; 0: no tensor
  std::array<std::int64_t, kMaxRank> shape{};  // elements

  Tensor() = default;
  Tensor(void* pointer, DType type, std::initializer_list<std::int64_t> dimensions)
      : data(pointer), dtype(type) {
    for (const std::int64_t dimension : dimensions) {
      if (rank < kMaxRank) shape[static_cast<std::size_t>(rank++)] = dimension;
    }
  }

  // A tensor of rank 0 stands for "not given" wherever an argument is optional.
  bool empty() const { return rank == 0; }
  std::int64_t dim(int axis) const { return shape[static_cast<std::size_t>(axis)]; }
  std::int64_t num_elements() const {
    std::int64_t count = rank == 0 ? 0 : 1;
    for (int axis = 0; axis < rank; ++axis) count *= dim(axis);
    return count;
  }
  std::size_t num_bytes() const {
    return static_cast<std::size_t>(num_elements()) * element_bytes(dtype);
  }
  template <class T>
  T* as() const {
    return static_cast<T*>(data);
  }
};

}  // namespace braid
