// Dense rows, as a shared expert takes them.
#include <cstring>

#include "unit/expert/ffn_fixture.hpp"

namespace braid::test {
namespace {

using Dense = EngineTest;

TEST_P(Dense, GivesTheSameBitsAsTheGroupedRun) {
  const Layer layer({.num_experts = 1, .hidden = 200, .width = 104});
  const std::vector<Row> rows = random_rows(DispatchFormat::kBf16, 200, 45);
  std::vector<const Row*> places;
  for (const Row& row : rows) places.push_back(&row);
  const PackedRows packed(DispatchFormat::kBf16, 200, 45, {places});
  const ExpertFfn ffn(layer.weights(), {.engine = GetParam()});
  Output grouped(DType::kFloat32, 1, 45, 200);
  ffn.run(packed.input(), grouped.view(), {.begin = 0, .end = 1});

  std::vector<std::byte> as_bf16;
  std::vector<float> as_float32;
  for (const Row& row : rows) {
    as_bf16.insert(as_bf16.end(), row.data.begin(), row.data.end());
    as_float32.insert(as_float32.end(), row.values.begin(), row.values.end());
  }
  for (const Tensor& x : {Tensor(as_bf16.data(), DType::kBFloat16, {45, 200}),
                          Tensor(as_float32.data(), DType::kFloat32, {45, 200})}) {
    Output dense(DType::kFloat32, 1, 45, 200);
    ffn.run_dense(x, static_cast<float*>(dense.view().rows), 2);
    for (int row = 0; row < 45; ++row) EXPECT_EQ(dense.bits(0, row), grouped.bits(0, row));
  }
}

TEST_P(Dense, TakesFloat32RowsAsTheyAre) {
  const Layer layer({.num_experts = 1, .hidden = 64, .width = 32, .dtype = DType::kFloat32});
  std::vector<float> x(64);
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = 0.1F + 0.01F * static_cast<float>(i);
  const ExpertFfn ffn(layer.weights(), {.engine = GetParam()});
  std::vector<float> out(64);
  ffn.run_dense(Tensor(x.data(), DType::kFloat32, {1, 64}), out.data());
  Diff diff;
  diff.add(layer.oracle(0, x), out);
  EXPECT_LE(diff.value(), 1e-11);
}

TEST_P(Dense, TakesNoRows) {
  const Layer layer({.num_experts = 1, .hidden = 64, .width = 32});
  const ExpertFfn ffn(layer.weights(), {.engine = GetParam()});
  ffn.run_dense(Tensor(nullptr, DType::kBFloat16, {0, 64}), nullptr);
}

INSTANTIATE_TEST_SUITE_P(Engines, Dense, testing::ValuesIn(engines()), engine_name);

}  // namespace
}  // namespace braid::test
