// Random experts and rows, what they come to in double precision, and how to run them.
#pragma once

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "expert/expert.hpp"

namespace braid::test {

struct LayerSpec {
  int num_experts = 1;
  int hidden = 0;
  int width = 0;
  DType dtype = DType::kBFloat16;
  std::int64_t block = 128;  // e4m3: 0 leaves the scales out
};

// Stored weights and, apart from them, the values that they stand for.
class Layer {
 public:
  struct Matrix {
    WeightView view;
    std::vector<float> values;  // [rows, cols]
    std::vector<std::byte> storage;
    std::vector<float> scales;
  };
  struct Expert {
    Matrix gate, up, down;
  };

  explicit Layer(const LayerSpec& spec);
  std::vector<ExpertWeights> weights() const;
  const LayerSpec& spec() const { return spec_; }

  // The expert's output for one row, in double.
  std::vector<double> oracle(int expert, const std::vector<float>& row) const;

 private:
  LayerSpec spec_;
  std::vector<Expert> experts_;
};

// One token's row in a format: its bytes, and the values that they stand for.
struct Row {
  std::vector<std::byte> data;
  std::vector<std::byte> scales;
  std::vector<float> values;
};
std::vector<Row> random_rows(DispatchFormat format, int hidden, int count);

// rows_of[e]: the rows of expert e, padded to the capacity with NaN that nobody may read.
class PackedRows {
 public:
  PackedRows(DispatchFormat format, int hidden, std::int64_t capacity,
             const std::vector<std::vector<const Row*>>& rows_of);
  void set_scale_layout(ScaleLayout layout);
  ExpertInput input() const;

 private:
  DispatchFormat format_;
  int hidden_;
  std::int64_t capacity_;
  ScaleLayout scale_layout_ = ScaleLayout::kRowMajor;
  std::vector<std::byte> x_;
  std::vector<std::byte> scales_;
  std::vector<std::int32_t> counts_;
};

// An output whose every byte is kUntouched before the run.
class Output {
 public:
  static constexpr std::byte kUntouched{0xA5};

  Output(DType dtype, int num_experts, std::int64_t capacity, int hidden);
  ExpertOutput view(int first_expert = 0);
  // The bytes of one row; expert counts from the output's first.
  std::vector<std::byte> bits(int expert, std::int64_t row) const;
  std::vector<float> values(int expert, std::int64_t row) const;
  bool untouched(int expert, std::int64_t row) const;

 private:
  DType dtype_;
  std::int64_t capacity_;
  int hidden_;
  std::vector<std::byte> bytes_;
};

// 1 - 2 sum(xy) / sum(xx + yy); an all-zero pair is not equal but broken, and gives NaN.
class Diff {
 public:
  void add(const std::vector<double>& expected, const std::vector<float>& actual);
  double value() const { return 1.0 - 2.0 * product_ / squares_; }

 private:
  double product_ = 0.0;
  double squares_ = 0.0;
};

// The engines that this build tests. ThreadSanitizer can't see into oneDNN.
std::vector<ExpertEngine> engines();

// "OneDnn" or "Plain": tests are named so, for the runs with an older instruction set.
std::string engine_name(const testing::TestParamInfo<ExpertEngine>& info);

class EngineTest : public testing::TestWithParam<ExpertEngine> {};

}  // namespace braid::test
