#include "codec/rows_builds.hpp"

namespace braid::codec {
namespace baseline {
#include "codec/rows_generic.hpp"
}  // namespace baseline

constinit const RowKernels kRowsBaseline = baseline::make_row_kernels("baseline");

}  // namespace braid::codec
