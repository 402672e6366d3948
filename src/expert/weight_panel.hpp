// Stored weights, a few output channels at a time, as the f32 that products take.
#pragma once

#include <cstdint>

#include "base/weight_view.hpp"

namespace braid::expert {

// out[kPanelRows][cols] = rows [first_row, first_row + kPanelRows) of the weights, exactly as
// stored value times block scale rounded to f32. Rows beyond the last are zero, so that the
// product keeps its shape.
void load_weight_panel(const WeightView& weights, std::int64_t first_row, float* out);

}  // namespace braid::expert
