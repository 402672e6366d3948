// Every valid row is in exactly one block, and waves keep to their size.
#include "expert/wave.hpp"

#include <gtest/gtest.h>

namespace braid::expert {
namespace {

TEST(Waves, CoverTheRangesRowsOnceInOrder) {
  const std::vector<std::int32_t> counts{9, 0, 1, 16, 17, 100, 0, 33, 5};
  for (const int max_blocks : {1, 2, 3, 100}) {
    std::vector<std::vector<int>> times;
    for (const std::int32_t count : counts) times.emplace_back(static_cast<std::size_t>(count));
    std::pair<int, int> last{-1, -1};
    for (const Wave& wave : cut_into_waves(counts.data(), 1, 8, {16, max_blocks})) {
      ASSERT_FALSE(wave.blocks.empty());
      ASSERT_LE(std::ssize(wave.blocks), max_blocks);
      int slot = 0;
      for (const BlockRun& run : wave.runs) {
        ASSERT_EQ(run.first_slot, slot);
        for (int i = 0; i < run.num_blocks; ++i, ++slot) {
          const Block& block = wave.blocks[static_cast<std::size_t>(slot)];
          ASSERT_EQ(block.expert, run.expert);
          ASSERT_EQ(block.block, run.first_block + i);
          ASSERT_EQ(block.first_row, 16 * block.block);
          ASSERT_GE(block.num_rows, 1);
          ASSERT_LE(block.num_rows, 16);
          ASSERT_LT(last, (std::pair{block.expert, block.block}));
          last = {block.expert, block.block};
          for (int row = 0; row < block.num_rows; ++row) {
            ++times[static_cast<std::size_t>(block.expert)].at(
                static_cast<std::size_t>(block.first_row + row));
          }
        }
      }
      ASSERT_EQ(slot, std::ssize(wave.blocks));
    }
    for (int expert = 0; expert < std::ssize(counts); ++expert) {
      const int expected = expert >= 1 && expert < 8 ? 1 : 0;
      for (const int seen : times[static_cast<std::size_t>(expert)]) EXPECT_EQ(seen, expected);
    }
  }
}

TEST(Waves, AreNoneWhereThereAreNoRows) {
  const std::vector<std::int32_t> counts{0, 0, 4};
  EXPECT_TRUE(cut_into_waves(counts.data(), 0, 2, {16, 4}).empty());
  EXPECT_TRUE(cut_into_waves(counts.data(), 2, 2, {16, 4}).empty());
}

}  // namespace
}  // namespace braid::expert
