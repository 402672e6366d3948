// Bad input is refused by a sentence that names it.
#include <functional>
#include <limits>

#include "braid/error.hpp"
#include "unit/expert/ffn_fixture.hpp"

namespace braid::test {
namespace {

// Fails unless the call throws kInvalidArgument with just this sentence.
void expect_refused(const std::string& sentence, const std::function<void()>& call) {
  try {
    call();
    ADD_FAILURE() << "not refused: " << sentence;
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
    EXPECT_EQ(error.what(), sentence);
  }
}

class Refusal : public testing::Test {
 protected:
  void expect_weights_refused(const std::string& sentence,
                              const std::function<void(ExpertWeights&)>& spoil) {
    std::vector<ExpertWeights> weights = layer_.weights();
    spoil(weights[1]);
    expect_refused(sentence, [&] { ExpertFfn ffn(weights); });
  }

  void expect_run_refused(const std::string& sentence, const std::function<void()>& spoil) {
    const std::vector<std::int32_t> counts = counts_;
    input_ = {.format = DispatchFormat::kBf16,
              .x = x_.data(),
              .scales = nullptr,
              .counts = counts_.data(),
              .row_capacity = 4,
              .hidden = 200};
    output_ = {.rows = out_.data(), .dtype = DType::kBFloat16, .first_expert = 0};
    how_ = {.begin = 0, .end = 2, .num_workers = 1};
    spoil();
    expect_refused(sentence, [&] { ffn_.run(input_, output_, how_); });
    counts_ = counts;
  }

  Layer layer_{{.num_experts = 2, .hidden = 200, .width = 64}};
  ExpertFfn ffn_{layer_.weights()};
  std::vector<std::int32_t> counts_{2, 4};
  std::vector<std::byte> x_ = std::vector<std::byte>(2 * 4 * 200 * 2);
  std::vector<std::byte> out_ = std::vector<std::byte>(2 * 4 * 200 * 2);
  ExpertInput input_;
  ExpertOutput output_;
  ExpertRun how_;
};

TEST_F(Refusal, WeightsThatDoNotFitTogether) {
  expect_refused("experts is empty, but must hold at least one", [] { ExpertFfn ffn({}); });
  expect_weights_refused("expert 1: up has no data", [](auto& w) { w.up.data = nullptr; });
  expect_weights_refused("expert 1: down has dtype i64, but must be bf16, f32 or f8_e4m3",
                         [](auto& w) { w.down.dtype = DType::kInt64; });
  expect_weights_refused(
      "expert 1: up has shape [63, 200], but must be [64, 200] to fit expert 0's gate",
      [](auto& w) { w.up.rows = 63; });
  expect_weights_refused(
      "expert 1: down has shape [64, 200], but must be [200, 64] to fit expert 0's gate",
      [](auto& w) { w.down = w.gate; });
  expect_weights_refused("expert 1: gate has shape [0, 200], but both must be from 1 to 2147483647",
                         [](auto& w) { w.gate.rows = 0; });
  expect_weights_refused(
      "expert 1: gate has block scales and dtype bf16, but only f8_e4m3 takes scales", [](auto& w) {
        static constexpr float kScale = 1.0F;
        w.gate.block_scales = &kScale;
      });
}

TEST_F(Refusal, Options) {
  expect_refused("block_rows is 40, but must be a multiple of 16 from 16 to 256",
                 [&] { ExpertFfn ffn(layer_.weights(), {.block_rows = 40}); });
  expect_refused("block_rows is 0, but must be a multiple of 16 from 16 to 256",
                 [&] { ExpertFfn ffn(layer_.weights(), {.block_rows = 0}); });
  expect_refused("wave_blocks is 0, but must be at least 1",
                 [&] { ExpertFfn ffn(layer_.weights(), {.wave_blocks = 0}); });
}

TEST_F(Refusal, Runs) {
  expect_run_refused("num_workers is 0, but must be at least 1", [&] { how_.num_workers = 0; });
  expect_run_refused("the range of experts is [0, 3), but must lie in [0, 2)",
                     [&] { how_.end = 3; });
  expect_run_refused("the range of experts is [1, 0), but must lie in [0, 2)", [&] {
    how_.begin = 1;
    how_.end = 0;
  });
  expect_run_refused(
      "first_expert of the output is 1, but must be from 0 to 0, the range's first expert",
      [&] { output_.first_expert = 1; });
  expect_run_refused("the output has dtype i32, but must be bf16 or f32",
                     [&] { output_.dtype = DType::kInt32; });
  expect_run_refused("hidden is 128, but the weights take 200", [&] { input_.hidden = 128; });
  expect_run_refused("row_capacity is -1, but must not be negative",
                     [&] { input_.row_capacity = -1; });
  expect_run_refused("hidden is 200, but must be a multiple of 128 for format fp8_pow2",
                     [&] { input_.format = DispatchFormat::kFp8Pow2; });
  expect_run_refused("counts is null, but must name a count per expert",
                     [&] { input_.counts = nullptr; });
  expect_run_refused("the count of local expert 1 is 5, but must be from 0 to row_capacity 4",
                     [&] { counts_[1] = 5; });
  expect_run_refused("the count of local expert 0 is -1, but must be from 0 to row_capacity 4",
                     [&] { counts_[0] = -1; });
  std::vector<std::int64_t> first_rows{0, 2};
  expect_run_refused("the 4 rows of local expert 1 begin at row 2, but must lie in the 4 rows of x",
                     [&] { input_.first_rows = first_rows.data(); });
  expect_run_refused("first_expert of the output is 1, but must be 0 where first_rows is given",
                     [&] {
                       input_.first_rows = first_rows.data();
                       output_.first_expert = how_.begin = 1;
                     });
  expect_run_refused("x is null, but there are rows to read", [&] { input_.x = nullptr; });
  expect_run_refused("the output's rows are null, but there are rows to write",
                     [&] { output_.rows = nullptr; });
}

TEST_F(Refusal, ScalesThatAreMissing) {
  const Layer layer({.num_experts = 1, .hidden = 128, .width = 32});
  const ExpertFfn ffn(layer.weights());
  const std::int32_t count = 1;
  const ExpertInput input{.format = DispatchFormat::kFp8,
                          .x = x_.data(),
                          .scales = nullptr,
                          .counts = &count,
                          .row_capacity = 1,
                          .hidden = 128};
  expect_refused("scales is null, but format fp8 has scales",
                 [&] { ffn.run(input, {.rows = out_.data()}, {.begin = 0, .end = 1}); });
  const std::int64_t first_row = 0;
  ExpertInput by_column = input;
  by_column.scale_layout = ScaleLayout::kColumnMajor;
  by_column.first_rows = &first_row;
  expect_refused("first_rows is given, but scales of such rows stand row by row",
                 [&] { ffn.run(by_column, {.rows = out_.data()}, {.begin = 0, .end = 1}); });
}

TEST_F(Refusal, DenseRows) {
  std::vector<float> out(400);
  expect_refused("run_dense takes weights of one expert, but there are 2", [&] {
    ffn_.run_dense(Tensor(x_.data(), DType::kBFloat16, {2, 200}), out.data());
  });
  const std::vector<ExpertWeights> weights = layer_.weights();
  const ExpertFfn ffn({weights[0]});
  expect_refused("x must have shape [n, 200]", [&] {
    ffn.run_dense(Tensor(x_.data(), DType::kBFloat16, {2, 100}), out.data());
  });
  expect_refused("x has dtype u8, but must be bf16 or f32", [&] {
    ffn.run_dense(Tensor(x_.data(), DType::kUint8, {2, 200}), out.data());
  });
  expect_refused("out is null, but there are rows to write", [&] {
    ffn.run_dense(Tensor(x_.data(), DType::kBFloat16, {2, 200}), nullptr);
  });
}

}  // namespace
}  // namespace braid::test
