// What the test of NCCL's windows runs on the device.
#pragma once

#include <cstddef>
#include <cstdint>

namespace braid::gpu_test {

struct MarkArgs {
  std::uint64_t* words;
  std::size_t num_words;
  std::uint64_t seed;
};

inline constexpr std::uint64_t kMarkStep = 0x9e3779b97f4a7c15;

// words[i] = seed + i * kMarkStep, by a kernel's plain stores; returns when they are done.
void write_marks(const MarkArgs& args);

}  // namespace braid::gpu_test
