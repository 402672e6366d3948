// Rows into micro-batches and back: every row once, padding zero.
#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

#include "braid/two_batch.hpp"
#include "unit/executor/expect_error.hpp"

namespace braid::test {
namespace {

constexpr std::int64_t kWidth = 3;

Tensor view(std::vector<std::int32_t>& rows) {
  return {rows.data(), DType::kInt32, {std::ssize(rows) / kWidth, kWidth}};
}

std::vector<std::int32_t> filled(std::int64_t rows, std::int32_t value) {
  return std::vector<std::int32_t>(static_cast<std::size_t>(rows * kWidth), value);
}

struct Split {
  std::int64_t tokens, split;
  int attention_ranks;
};

TEST(MicroBatches, HoldEveryRowOnceAndComeBack) {
  for (const Split& of : {Split{8, 4, 1},
                          {9, 4, 4},
                          {1, 0, 1},
                          {1, 0, 4},
                          {3, 5, 2},
                          {0, 0, 4},
                          {0, 3, 1},
                          {7, 7, 8}}) {
    const PaddedSizes sizes = padded_sizes(of.tokens, of.split, of.attention_ranks);
    auto whole = filled(of.tokens, 0);
    std::iota(whole.begin(), whole.end(), 1);
    auto a = filled(sizes.padded[0], -1), b = filled(sizes.padded[1], -1);
    split_rows(view(whole), sizes, {view(a), view(b)});
    std::vector<std::int32_t> both(a.begin(), a.begin() + sizes.tokens[0] * kWidth);
    both.insert(both.end(), b.begin(), b.begin() + sizes.tokens[1] * kWidth);
    EXPECT_EQ(both, whole);
    const auto zero = [](std::int32_t value) { return value == 0; };
    EXPECT_TRUE(std::all_of(a.begin() + sizes.tokens[0] * kWidth, a.end(), zero));
    EXPECT_TRUE(std::all_of(b.begin() + sizes.tokens[1] * kWidth, b.end(), zero));

    // A batch that was padded itself: what is behind the tokens becomes zero.
    auto merged = filled(of.tokens + 2, -1);
    merge_rows({view(a), view(b)}, sizes, view(merged));
    whole.resize(merged.size(), 0);
    EXPECT_EQ(merged, whole);
  }
}

TEST(MicroBatches, OfAnotherShapeAreRefused) {
  auto whole = filled(4, 1), a = filled(2, 0), b = filled(3, 0);
  const PaddedSizes sizes = padded_sizes(4, 2, 1);
  expect_error(ErrorCode::kInvalidArgument, {"micro-batch 1 has 3 rows, but must have 2"}, [&] {
    split_rows(view(whole), sizes, {view(a), view(b)});
  });
  Tensor flat = view(a);
  flat.dtype = DType::kFloat32;
  expect_error(ErrorCode::kInvalidArgument, {"micro-batch 0", "another type or shape"}, [&] {
    merge_rows({flat, view(a)}, sizes, view(whole));
  });
  auto shorter = filled(3, 0);
  expect_error(ErrorCode::kInvalidArgument, {"2 and 2 tokens", "3 rows"}, [&] {
    merge_rows({view(a), view(a)}, sizes, view(shorter));
  });
}

}  // namespace
}  // namespace braid::test
