#include "app/limits.hpp"

#include <algorithm>
#include <cstddef>

#include "codec/row.hpp"
#include "codec/rows.hpp"

namespace braid::app {

double reference_limit(const CommunicationOptions& options, double fp8_limit) {
  return (options.dispatch == DispatchFormat::kBf16 ? kBf16Limit : fp8_limit) +
         (options.combine == CombineFormat::kLogFmt10 ? kLogFmtAllowance : 0.0);
}

double rounded_limit(const CommunicationOptions& options) {
  return kBf16Limit + (options.combine == CombineFormat::kLogFmt10 ? kLogFmtAllowance : 0.0);
}

bool all_hold(const std::vector<Comparison>& comparisons) {
  return !comparisons.empty() &&
         std::all_of(comparisons.begin(), comparisons.end(),
                     [](const Comparison& comparison) { return comparison.holds(); });
}

void round_row(DispatchFormat format, const std::uint16_t* row, int hidden, float* seen) {
  std::vector<std::byte> data(static_cast<std::size_t>(codec::dispatch_data_bytes(format, hidden)));
  std::vector<std::byte> scales(
      static_cast<std::size_t>(codec::dispatch_scale_bytes(format, hidden)));
  const codec::RowKernels& kernels = codec::row_kernels();
  kernels.encode_dispatch(format, row, hidden, data.data(), scales.data());
  kernels.decode_dispatch(format, data.data(), scales.data(), hidden, seen);
}

}  // namespace braid::app
