// The one matrix product that the expert network is made of, and all that its engines differ in.
#pragma once

#include <cstdint>

#include "expert/expert.hpp"

namespace braid::expert {

inline constexpr int kPanelRows = 32;  // output channels of one product

// out[kPanelRows][rows] = weights[kPanelRows][depth] * x[depth][rows], all f32 and contiguous.
//
// Tokens are the fastest axis, so that they are the lanes of vector instructions: every token's
// sum runs over depth in the same order. A caller always gives the same `rows`, padded with
// zeros, so the same code runs for every block, and no weight has to be transposed.
struct PanelShape {
  std::int64_t depth = 0;
  std::int64_t rows = 0;  // a multiple of 16
};
using PanelGemm = void (*)(const PanelShape&, const float* weights, const float* x, float* out);

void panel_gemm_onednn(const PanelShape& shape, const float* weights, const float* x, float* out);
void panel_gemm_plain(const PanelShape& shape, const float* weights, const float* x, float* out);

PanelGemm panel_gemm(ExpertEngine engine);

}  // namespace braid::expert
