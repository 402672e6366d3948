// What a grouped GEMM costs: tiles in waves on the SMs it has, and the bytes that it reads.
#pragma once

#include <vector>

#include "braid/profile.hpp"

namespace braid::predict {

// Rows of each group times one weight matrix [out, in] a group.
struct GroupedGemm {
  double row_blocks = 0;  // of kTileRows rows, over all groups
  double out = 0;         // N
  double in = 0;          // K
  double bytes = 0;       // weights of groups that have rows, and rows in and out
  double tflops = 0;      // of the device, in this format
  int most_splits = 1;    // parts that K may be cut into, where there are few tiles
};

inline constexpr int kTileRows = 64;  // the tensor cores' own: fewer rows cost as much

struct GemmFormat {
  double weight_bytes = 1;  // of a weight or an input channel; outputs are BF16
  double tflops = 0;
};
GroupedGemm grouped_gemm(const std::vector<double>& rows, double out, double in,
                         const GemmFormat& format);

// Microseconds of arithmetic on so many of the device's SMs: the best of the tile widths that a
// library would try, whole waves.
double arithmetic_us(const GroupedGemm& gemm, const HardwareProfile& device, double sms);

}  // namespace braid::predict
