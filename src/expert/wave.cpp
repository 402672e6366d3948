#include "expert/wave.hpp"

#include "base/math.hpp"

namespace braid::expert {
namespace {

void append(Wave& wave, int expert, int block) {
  const int slot = static_cast<int>(wave.blocks.size());
  if (wave.runs.empty() || wave.runs.back().expert != expert) {
    wave.runs.push_back({expert, block, 0, slot});
  }
  ++wave.runs.back().num_blocks;
}

}  // namespace

std::vector<Wave> cut_into_waves(const std::int32_t* counts, int begin, int end,
                                 const WaveShape& shape) {
  std::vector<Wave> waves;
  for (int expert = begin; expert < end; ++expert) {
    const std::int64_t count = counts[expert];
    const std::int64_t num_blocks = ceil_div<std::int64_t>(count, shape.block_rows);
    for (std::int64_t block = 0; block < num_blocks; ++block) {
      if (waves.empty() || std::ssize(waves.back().blocks) == shape.max_blocks) {
        waves.emplace_back();
      }
      const std::int64_t first_row = block * shape.block_rows;
      append(waves.back(), expert, static_cast<int>(block));
      waves.back().blocks.push_back(
          {expert, static_cast<int>(block), first_row,
           static_cast<int>(min_of<std::int64_t>(shape.block_rows, count - first_row))});
    }
  }
  return waves;
}

}  // namespace braid::expert
