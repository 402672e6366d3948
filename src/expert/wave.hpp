// Cutting a call's rows into work: blocks of rows, and waves of blocks.
#pragma once

#include <cstdint>
#include <limits>
#include <vector>

namespace braid::expert {

// Consecutive blocks of one expert, which share a converted weight panel. In the wave's scratch
// they are the slots from first_slot on.
struct BlockRun {
  int expert = 0;
  int first_block = 0;
  int num_blocks = 0;
  int first_slot = 0;
};

// One block in its slot.
struct Block {
  int expert = 0;
  int block = 0;               // within the expert
  std::int64_t first_row = 0;  // within the expert
  int num_rows = 0;            // 1 to block_rows
};

// The blocks that go through the steps together.
struct Wave {
  std::vector<BlockRun> runs;
  std::vector<Block> blocks;  // slot by slot
};

inline constexpr int kAllBlocks = std::numeric_limits<int>::max();  // one wave

struct WaveShape {
  int block_rows = 0;
  int max_blocks = 0;
};

// Covers every valid row of experts [begin, end) once, in order. An expert without rows has none.
std::vector<Wave> cut_into_waves(const std::int32_t* counts, int begin, int end,
                                 const WaveShape& shape);

}  // namespace braid::expert
