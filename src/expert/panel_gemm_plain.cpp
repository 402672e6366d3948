#include <cstring>

#include "expert/panel_gemm.hpp"

namespace braid::expert {
namespace {

// Sixteen tokens as one value, which compilers split into the registers that they have. Left to
// find this by themselves, they keep the sums in memory, at half the speed.
using Lanes = float __attribute__((vector_size(64)));
constexpr int kLanes = 16;
constexpr int kChannels = 2;  // at once, so that one load of the tokens serves two

}  // namespace

void panel_gemm_plain(const PanelShape& shape, const float* weights, const float* x, float* out) {
  for (int channel = 0; channel < kPanelRows; channel += kChannels) {
    const float* w = weights + channel * shape.depth;
    for (std::int64_t row = 0; row < shape.rows; row += kLanes) {
      Lanes sums[kChannels] = {};
      for (std::int64_t k = 0; k < shape.depth; ++k) {
        Lanes tokens;
        std::memcpy(&tokens, x + k * shape.rows + row, sizeof(tokens));
        for (int c = 0; c < kChannels; ++c) sums[c] += tokens * w[c * shape.depth + k];
      }
      for (int c = 0; c < kChannels; ++c) {
        std::memcpy(out + (channel + c) * shape.rows + row, &sums[c], sizeof(sums[c]));
      }
    }
  }
}

}  // namespace braid::expert
