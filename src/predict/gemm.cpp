#include "predict/gemm.hpp"

#include <algorithm>
#include <cmath>

namespace braid::predict {

GroupedGemm grouped_gemm(const std::vector<double>& rows, double out, double in,
                         const GemmFormat& format) {
  GroupedGemm gemm;
  gemm.out = out;
  gemm.in = in;
  gemm.tflops = format.tflops;
  for (const double count : rows) {
    if (count <= 0) continue;
    gemm.row_blocks += std::ceil(count / kTileRows);
    gemm.bytes += out * in * format.weight_bytes + count * (in * format.weight_bytes + out * 2);
  }
  return gemm;
}

double arithmetic_us(const GroupedGemm& gemm, const HardwareProfile& device, double sms) {
  if (gemm.row_blocks <= 0) return 0;
  // Of one SM, in operations a microsecond.
  const double rate = gemm.tflops * 1e6 * device.gemm_efficiency / device.sms;
  double best = 0;
  for (int splits = 1; splits <= gemm.most_splits; splits *= 2) {
    for (int width = 64; width <= 256; width += 16) {
      const double tiles = gemm.row_blocks * std::ceil(gemm.out / width) * splits;
      const double waves = std::ceil(tiles / std::max(1.0, std::floor(sms)));
      const double time = waves * 2 * kTileRows * width * gemm.in / splits / rate;
      if (best == 0 || time < best) best = time;
    }
  }
  return best;
}

}  // namespace braid::predict
