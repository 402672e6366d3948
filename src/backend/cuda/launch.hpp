// The one launch helper.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

namespace braid::cuda {

enum class Residency {
  kAny,
  kAll,  // all blocks at once, or the launch is refused: for blocks that wait for each other
};

enum class Start {
  kAfterTheLast,
  // Blocks may be there as soon as the last kernel's leave their SMs. They wait for its end before
  // they touch memory (griddepcontrol_wait), and hold their SMs meanwhile.
  kEarly,
};

struct LaunchShape {
  int blocks = 1;
  int threads = 32;
  std::int64_t shared_bytes = 0;
  Residency residency = Residency::kAny;
  cudaStream_t stream = nullptr;
  Start start = Start::kAfterTheLast;
};

// Throws with `what`, the call's name, where the status is an error.
void check(cudaError_t status, const char* what);

namespace detail {
void load(const void* kernel);
void launch(const void* kernel, const LaunchShape& shape, void** arguments);
}  // namespace detail

// On the current device, before it is first launched: loading one waits for whatever runs there,
// and a first launch would also have to allow it its shared memory.
template <class Args>
void load(void (*kernel)(Args)) {
  detail::load(reinterpret_cast<const void*>(kernel));
}

// A kernel takes one struct, by value. One that was not loaded is loaded here.
template <class Args>
void launch(void (*kernel)(Args), const LaunchShape& shape, const Args& args) {
  Args copy = args;
  void* arguments[] = {&copy};
  detail::launch(reinterpret_cast<const void*>(kernel), shape, arguments);
}

}  // namespace braid::cuda
