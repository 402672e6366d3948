// The builds of rows_generic.hpp, and what they are built from. Everything is included here, so
// that inline functions of headers are compiled for any processor, whichever file emits them.
#pragma once

#include <cstddef>
#include <cstdint>

#include "braid/format.hpp"
#include "codec/bfloat16.hpp"
#include "codec/logfmt.hpp"
#include "codec/row.hpp"
#include "codec/rows.hpp"
#include "codec/scale.hpp"

namespace braid::codec {

extern const RowKernels kRowsBaseline;
#if defined(__x86_64__)
extern const RowKernels kRowsAvx2;    // AVX2, FMA, BMI2
extern const RowKernels kRowsAvx512;  // and AVX-512 F, BW, DQ, VL
#endif

}  // namespace braid::codec
