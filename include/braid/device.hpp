// What ranks compute on.
#pragma once

#include <cstdint>

namespace braid {

enum class Backend : std::uint8_t {
  kCpu,   // threads; memory is the process's
  kCuda,  // GPUs of compute capability 9.0; memory is a CUDA device's
};

const char* to_string(Backend backend) noexcept;  // "cpu", "cuda"
Backend parse_backend(const char* text);          // throws kInvalidArgument listing what there is

}  // namespace braid
