// Rows of one expert behind another's, as contiguous grouped GEMMs take them.
#include <cstring>

#include "unit/expert/ffn_fixture.hpp"

namespace braid::test {
namespace {

using Contiguous = EngineTest;

constexpr int kHidden = 256, kAlignment = 8;
constexpr std::int64_t kCapacity = 40;  // of an expert, where rows are padded to it

TEST_P(Contiguous, GivesTheSameBitsAsPaddedRowsAndLeavesPaddingAlone) {
  const Layer layer({.num_experts = 3, .hidden = kHidden, .width = 104});
  const ExpertFfn ffn(layer.weights(), {.engine = GetParam()});
  for (const DispatchFormat format : {DispatchFormat::kBf16, DispatchFormat::kFp8}) {
    const std::vector<Row> rows = random_rows(format, kHidden, static_cast<int>(kCapacity));
    // 35 rows, none, and 3 of them again.
    std::vector<std::vector<const Row*>> rows_of(3);
    for (std::size_t row = 0; row < 35; ++row) rows_of[0].push_back(&rows[row]);
    for (std::size_t row = 5; row < 8; ++row) rows_of[2].push_back(&rows[row]);
    const PackedRows packed(format, kHidden, kCapacity, rows_of);
    Output padded(DType::kFloat32, 3, kCapacity, kHidden);
    ffn.run(packed.input(), padded.view(), {.begin = 0, .end = 3});

    const std::vector<std::int64_t> first_rows{0, kCapacity, kCapacity};
    const std::int64_t num_rows = kCapacity + kAlignment;
    std::vector<std::byte> x(static_cast<std::size_t>(num_rows) * rows[0].data.size());
    std::vector<std::byte> scales(static_cast<std::size_t>(num_rows) * rows[0].scales.size());
    for (std::size_t expert = 0; expert < 3; ++expert) {
      std::size_t at = static_cast<std::size_t>(first_rows[expert]);
      for (const Row* row : rows_of[expert]) {
        std::memcpy(x.data() + at * row->data.size(), row->data.data(), row->data.size());
        if (!row->scales.empty()) {
          std::memcpy(scales.data() + at * row->scales.size(), row->scales.data(),
                      row->scales.size());
        }
        ++at;
      }
    }
    ExpertInput input = packed.input();
    input.x = x.data();
    input.scales = scales.empty() ? nullptr : scales.data();
    input.row_capacity = num_rows;
    input.first_rows = first_rows.data();
    Output contiguous(DType::kFloat32, 1, num_rows, kHidden);
    // By range, as rounds would.
    ffn.run(input, contiguous.view(), {.begin = 0, .end = 1, .num_workers = 2});
    ffn.run(input, contiguous.view(), {.begin = 1, .end = 3});
    for (int row = 0; row < num_rows; ++row) {
      const int expert = row < kCapacity ? 0 : 2;
      const std::int64_t place = row - first_rows[static_cast<std::size_t>(expert)];
      if (place < std::ssize(rows_of[static_cast<std::size_t>(expert)])) {
        EXPECT_EQ(contiguous.bits(0, row), padded.bits(expert, place)) << "row " << row;
      } else {
        EXPECT_TRUE(contiguous.untouched(0, row)) << "row " << row;
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Engines, Contiguous, testing::ValuesIn(engines()), engine_name);

}  // namespace
}  // namespace braid::test
