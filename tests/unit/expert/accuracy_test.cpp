// Both engines against the same network in double precision.
#include "codec/bfloat16.hpp"
#include "unit/expert/ffn_fixture.hpp"

namespace braid::test {
namespace {

// Sums in f32 leave about 1e-13. BF16 rows are held to more than a bound: they must be the f32
// rows, each value rounded once.
constexpr double kMaxDiff = 1e-11;

struct Case {
  LayerSpec layer;
  DispatchFormat format = DispatchFormat::kBf16;
  std::vector<int> counts;
  int capacity = 0;
};

void expect_accurate(const Case& given, const ExpertOptions& options) {
  const Layer layer(given.layer);
  const int hidden = given.layer.hidden;
  std::vector<std::vector<Row>> rows;
  std::vector<std::vector<const Row*>> places;
  for (const int count : given.counts) {
    rows.push_back(random_rows(given.format, hidden, count));
    places.emplace_back();
    for (const Row& row : rows.back()) places.back().push_back(&row);
  }
  const PackedRows packed(given.format, hidden, given.capacity, places);
  const int num_experts = given.layer.num_experts;
  const ExpertFfn ffn(layer.weights(), options);
  Output exact(DType::kFloat32, num_experts, given.capacity, hidden);
  Output rounded(DType::kBFloat16, num_experts, given.capacity, hidden);
  ffn.run(packed.input(), exact.view(), {.begin = 0, .end = num_experts});
  ffn.run(packed.input(), rounded.view(), {.begin = 0, .end = num_experts});

  Diff diff;
  for (int expert = 0; expert < num_experts; ++expert) {
    const auto& mine = rows[static_cast<std::size_t>(expert)];
    for (int row = 0; row < given.capacity; ++row) {
      if (row >= std::ssize(mine)) {
        EXPECT_TRUE(exact.untouched(expert, row)) << "expert " << expert << " row " << row;
        EXPECT_TRUE(rounded.untouched(expert, row)) << "expert " << expert << " row " << row;
        continue;
      }
      std::vector<float> values = exact.values(expert, row);
      diff.add(layer.oracle(expert, mine[static_cast<std::size_t>(row)].values), values);
      for (float& value : values) value = codec::bf16_to_float(codec::float_to_bf16(value));
      EXPECT_EQ(rounded.values(expert, row), values) << "expert " << expert << " row " << row;
    }
  }
  EXPECT_LE(diff.value(), kMaxDiff);
  EXPECT_GE(diff.value(), -kMaxDiff);
}

using Accuracy = EngineTest;

TEST_P(Accuracy, CountsAroundBlockEdgesAndRowsBeyondThemUntouched) {
  const Case given{.layer = {.num_experts = 8, .hidden = 128, .width = 64},
                   .format = DispatchFormat::kBf16,
                   .counts = {0, 1, 31, 32, 33, 63, 65, 70},
                   .capacity = 70};
  for (const int wave_blocks : {1, 2, 3, 16}) {
    expect_accurate(given, {.engine = GetParam(), .wave_blocks = wave_blocks});
  }
}

TEST_P(Accuracy, EveryDispatchFormat) {
  for (const DispatchFormat format : {DispatchFormat::kBf16, DispatchFormat::kFp8,
                                      DispatchFormat::kFp8Pow2, DispatchFormat::kFp8Ue8m0}) {
    // 640 channels: five groups, so UE8M0's second int32 is not full.
    const Case given{.layer = {.num_experts = 2, .hidden = 640, .width = 96},
                     .format = format,
                     .counts = {3, 40},
                     .capacity = 41};
    expect_accurate(given, {.engine = GetParam()});
  }
}

TEST_P(Accuracy, EveryStoredTypeWithPartialPanelsAndBlocks) {
  struct Stored {
    DType dtype;
    std::int64_t block;
  };
  for (const Stored stored : {Stored{DType::kFloat32, 128}, Stored{DType::kBFloat16, 128},
                              Stored{DType::kFloat8E4M3, 128}, Stored{DType::kFloat8E4M3, 48},
                              Stored{DType::kFloat8E4M3, 0}}) {
    // 328 = 2 * 128 + 72 and 200 = 128 + 72; neither is a multiple of a panel's 32 channels.
    const Case given{.layer = {.num_experts = 2,
                               .hidden = 328,
                               .width = 200,
                               .dtype = stored.dtype,
                               .block = stored.block},
                     .format = DispatchFormat::kBf16,
                     .counts = {33, 2},
                     .capacity = 64};
    expect_accurate(given, {.engine = GetParam()});
  }
}

TEST_P(Accuracy, OtherBlockSizes) {
  for (const int block_rows : {16, 48, 64, 256}) {
    const Case given{.layer = {.num_experts = 2, .hidden = 64, .width = 40},
                     .format = DispatchFormat::kBf16,
                     .counts = {block_rows + 1, block_rows - 1},
                     .capacity = 300};
    expect_accurate(given, {.engine = GetParam(), .block_rows = block_rows});
  }
}

TEST_P(Accuracy, SumsOverADeepSeekRow) {
  const Case given{.layer = {.num_experts = 1,
                             .hidden = 7168,
                             .width = 256,
                             .dtype = DType::kFloat8E4M3,
                             .block = 128},
                   .format = DispatchFormat::kFp8,
                   .counts = {3},
                   .capacity = 3};
  expect_accurate(given, {.engine = GetParam()});
}

INSTANTIATE_TEST_SUITE_P(Engines, Accuracy, testing::ValuesIn(engines()), engine_name);

}  // namespace
}  // namespace braid::test
