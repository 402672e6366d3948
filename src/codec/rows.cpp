#include "codec/rows.hpp"

#include <array>

#include "codec/rows_builds.hpp"

namespace braid::codec {
namespace {

struct Available {
  std::array<const RowKernels*, 3> kernels{};
  std::size_t count = 0;

  Available() {
    kernels[count++] = &kRowsBaseline;
#if defined(__x86_64__)
    const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                      __builtin_cpu_supports("bmi2");
    const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
    if (avx2) kernels[count++] = &kRowsAvx2;
    if (avx2 && avx512) kernels[count++] = &kRowsAvx512;
#endif
  }
};

const Available& available() {
  static const Available found;
  return found;
}

}  // namespace

std::span<const RowKernels* const> available_row_kernels() {
  return {available().kernels.data(), available().count};
}

const RowKernels& row_kernels() { return *available_row_kernels().back(); }

}  // namespace braid::codec
