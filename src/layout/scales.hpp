// Where the scales of dispatch's output stand. A row has `words` words of 4 bytes: a float32 each,
// or four packed UE8M0 scales.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include "base/device.hpp"
#include "braid/format.hpp"

namespace braid::layout {

inline constexpr std::int64_t kScaleWordBytes = 4;

// [Le, rows, words], or by column [Le, words, rows].
struct ScaleShape {
  ScaleLayout layout = ScaleLayout::kRowMajor;
  std::int64_t words = 0;
  std::int64_t rows = 0;  // capacity of an expert

  // Bytes from a row's word to its next one.
  BRAID_HD constexpr std::int64_t stride() const {
    return layout == ScaleLayout::kColumnMajor ? rows * kScaleWordBytes : kScaleWordBytes;
  }
  // The byte offset of a row's first word.
  BRAID_HD constexpr std::int64_t first(std::int64_t expert, std::int64_t row) const {
    const std::int64_t in_expert = layout == ScaleLayout::kColumnMajor ? row : row * words;
    return (expert * rows * words + in_expert) * kScaleWordBytes;
  }
};

static_assert(ScaleShape{ScaleLayout::kRowMajor, 56, 10}.first(1, 2) == 4 * (560 + 112));
static_assert(ScaleShape{ScaleLayout::kColumnMajor, 56, 10}.first(1, 2) == 4 * (560 + 2));

// On the host: one row's scales side by side, where they are so or copied to `gathered`. Null where
// there are none. `row` counts from the first row of the first expert.
inline const std::byte* row_scales(const ScaleShape& shape, const std::byte* scales,
                                   std::int64_t row, std::vector<std::byte>& gathered) {
  if (shape.words == 0) return nullptr;
  const std::byte* first = scales + shape.first(row / shape.rows, row % shape.rows);
  if (shape.layout == ScaleLayout::kRowMajor) return first;
  gathered.resize(static_cast<std::size_t>(shape.words * kScaleWordBytes));
  for (std::int64_t word = 0; word < shape.words; ++word) {
    std::memcpy(gathered.data() + word * kScaleWordBytes, first + word * shape.stride(),
                kScaleWordBytes);
  }
  return gathered.data();
}

}  // namespace braid::layout
