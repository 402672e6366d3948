#include "codec/rows_builds.hpp"

#if defined(__x86_64__)

// Instructions by pragma, not by the file's flags: see rows_generic.hpp.
#if defined(__clang__)
#pragma clang attribute push(                                                    \
    __attribute__((target("avx2,fma,bmi2,avx512f,avx512bw,avx512dq,avx512vl"))), \
    apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma,bmi2,avx512f,avx512bw,avx512dq,avx512vl,prefer-vector-width=512")
#endif

namespace braid::codec {
namespace avx512 {
#include "codec/rows_generic.hpp"
}  // namespace avx512
}  // namespace braid::codec

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

constinit const braid::codec::RowKernels braid::codec::kRowsAvx512 =
    braid::codec::avx512::make_row_kernels("avx512");

#endif
