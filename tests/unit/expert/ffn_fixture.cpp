#include "unit/expert/ffn_fixture.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>

#include "codec/bfloat16.hpp"
#include "codec/e4m3.hpp"
#include "codec/row.hpp"
#include "codec/rows.hpp"

namespace braid::test {
namespace {

// One generator for a whole test binary: every matrix and row differs from every other.
std::mt19937& generator() {
  static std::mt19937 engine(20261122);
  return engine;
}

float normal(float deviation) {
  return std::normal_distribution<float>(0.0F, deviation)(generator());
}

template <class T>
void append(std::vector<std::byte>& bytes, T value) {
  const auto* begin = reinterpret_cast<const std::byte*>(&value);
  bytes.insert(bytes.end(), begin, begin + sizeof(T));
}

Layer::Matrix make_matrix(const LayerSpec& spec, std::int64_t rows, std::int64_t cols) {
  Layer::Matrix matrix;
  const bool is_e4m3 = spec.dtype == DType::kFloat8E4M3;
  const std::int64_t block = spec.block == 0 ? 128 : spec.block;
  const std::int64_t scale_cols = (cols + block - 1) / block;
  if (is_e4m3 && spec.block != 0) {
    // Unlike each other by far, so that a wrong block's scale can't pass.
    matrix.scales.resize(static_cast<std::size_t>((rows + block - 1) / block * scale_cols));
    for (float& scale : matrix.scales) scale = 0.002F + std::abs(normal(0.01F));
  }
  // Files align weights to their elements only: begin one element off.
  matrix.storage.resize(element_bytes(spec.dtype));
  const std::size_t offset = matrix.storage.size();
  for (std::int64_t row = 0; row < rows; ++row) {
    for (std::int64_t col = 0; col < cols; ++col) {
      const float value = normal(1.0F / std::sqrt(static_cast<float>(cols)));
      if (spec.dtype == DType::kFloat32) {
        append(matrix.storage, value);
        matrix.values.push_back(value);
      } else if (spec.dtype == DType::kBFloat16) {
        const std::uint16_t stored = codec::float_to_bf16(value);
        append(matrix.storage, stored);
        matrix.values.push_back(codec::bf16_to_float(stored));
      } else {
        const float scale =
            matrix.scales.empty()
                ? 1.0F
                : matrix.scales[static_cast<std::size_t>(row / block * scale_cols + col / block)];
        const std::uint8_t stored = codec::float_to_e4m3(value / scale);
        append(matrix.storage, stored);
        matrix.values.push_back(codec::e4m3_to_float(stored) * scale);
      }
    }
  }
  matrix.view = {.data = matrix.storage.data() + offset,
                 .dtype = spec.dtype,
                 .rows = rows,
                 .cols = cols,
                 .block_scales = matrix.scales.empty() ? nullptr : matrix.scales.data(),
                 .block = block};
  return matrix;
}

std::vector<double> multiply(const Layer::Matrix& matrix, const std::vector<double>& x) {
  std::vector<double> y(static_cast<std::size_t>(matrix.view.rows));
  for (std::size_t row = 0; row < y.size(); ++row) {
    for (std::size_t col = 0; col < x.size(); ++col) {
      y[row] += static_cast<double>(matrix.values[row * x.size() + col]) * x[col];
    }
  }
  return y;
}

}  // namespace

Layer::Layer(const LayerSpec& spec) : spec_(spec) {
  for (int expert = 0; expert < spec.num_experts; ++expert) {
    experts_.push_back({make_matrix(spec, spec.width, spec.hidden),
                        make_matrix(spec, spec.width, spec.hidden),
                        make_matrix(spec, spec.hidden, spec.width)});
  }
}

std::vector<ExpertWeights> Layer::weights() const {
  std::vector<ExpertWeights> views;
  for (const Expert& expert : experts_) {
    views.push_back({expert.gate.view, expert.up.view, expert.down.view});
  }
  return views;
}

std::vector<double> Layer::oracle(int expert, const std::vector<float>& row) const {
  const Expert& weights = experts_[static_cast<std::size_t>(expert)];
  const std::vector<double> x(row.begin(), row.end());
  std::vector<double> middle = multiply(weights.gate, x);
  const std::vector<double> up = multiply(weights.up, x);
  for (std::size_t i = 0; i < middle.size(); ++i) {
    middle[i] = middle[i] / (1.0 + std::exp(-middle[i])) * up[i];
  }
  return multiply(weights.down, middle);
}

std::vector<Row> random_rows(DispatchFormat format, int hidden, int count) {
  std::vector<Row> rows(static_cast<std::size_t>(count));
  for (Row& row : rows) {
    std::vector<std::uint16_t> x;
    for (int i = 0; i < hidden; ++i) x.push_back(codec::float_to_bf16(normal(1.0F)));
    row.data.resize(static_cast<std::size_t>(codec::dispatch_data_bytes(format, hidden)));
    row.scales.resize(static_cast<std::size_t>(codec::dispatch_scale_bytes(format, hidden)));
    row.values.resize(static_cast<std::size_t>(hidden));
    const codec::RowKernels& kernels = codec::row_kernels();
    kernels.encode_dispatch(format, x.data(), hidden, row.data.data(), row.scales.data());
    kernels.decode_dispatch(format, row.data.data(), row.scales.data(), hidden, row.values.data());
  }
  return rows;
}

PackedRows::PackedRows(DispatchFormat format, int hidden, std::int64_t capacity,
                       const std::vector<std::vector<const Row*>>& rows_of)
    : format_(format), hidden_(hidden), capacity_(capacity) {
  const auto data_bytes = static_cast<std::size_t>(codec::dispatch_data_bytes(format, hidden));
  const auto scale_bytes = static_cast<std::size_t>(codec::dispatch_scale_bytes(format, hidden));
  const std::size_t places = rows_of.size() * static_cast<std::size_t>(capacity);
  x_.assign(places * data_bytes, std::byte{0xff});
  scales_.assign(places * scale_bytes, std::byte{0xff});
  for (std::size_t expert = 0; expert < rows_of.size(); ++expert) {
    counts_.push_back(static_cast<std::int32_t>(rows_of[expert].size()));
    std::size_t place = expert * static_cast<std::size_t>(capacity);
    for (const Row* row : rows_of[expert]) {
      std::copy(row->data.begin(), row->data.end(), x_.data() + place * data_bytes);
      std::copy(row->scales.begin(), row->scales.end(), scales_.data() + place * scale_bytes);
      ++place;
    }
  }
}

void PackedRows::set_scale_layout(ScaleLayout layout) {
  if (layout == scale_layout_) return;
  const bool by_column = layout == ScaleLayout::kColumnMajor;
  const auto words =
      static_cast<std::size_t>(codec::dispatch_scale_bytes(format_, hidden_)) / sizeof(float);
  const auto rows = static_cast<std::size_t>(capacity_);
  std::vector<std::byte> moved(scales_.size());
  for (std::size_t expert = 0; expert < counts_.size(); ++expert) {
    for (std::size_t row = 0; row < rows; ++row) {
      for (std::size_t word = 0; word < words; ++word) {
        std::size_t from = expert * rows * words + row * words + word;
        std::size_t to = expert * rows * words + word * rows + row;
        if (!by_column) std::swap(from, to);
        std::memcpy(moved.data() + to * sizeof(float), scales_.data() + from * sizeof(float),
                    sizeof(float));
      }
    }
  }
  scales_ = moved;
  scale_layout_ = layout;
}

ExpertInput PackedRows::input() const {
  return {.format = format_,
          .x = x_.data(),
          .scales = scales_.empty() ? nullptr : scales_.data(),
          .counts = counts_.data(),
          .row_capacity = capacity_,
          .hidden = hidden_,
          .scale_layout = scale_layout_};
}

Output::Output(DType dtype, int num_experts, std::int64_t capacity, int hidden)
    : dtype_(dtype), capacity_(capacity), hidden_(hidden) {
  bytes_.assign(static_cast<std::size_t>(num_experts * capacity * hidden) * element_bytes(dtype),
                kUntouched);
}

ExpertOutput Output::view(int first_expert) {
  return {.rows = bytes_.data(), .dtype = dtype_, .first_expert = first_expert};
}

std::vector<std::byte> Output::bits(int expert, std::int64_t row) const {
  const std::size_t row_bytes = static_cast<std::size_t>(hidden_) * element_bytes(dtype_);
  const auto* begin =
      bytes_.data() + static_cast<std::size_t>(expert * capacity_ + row) * row_bytes;
  return {begin, begin + row_bytes};
}

std::vector<float> Output::values(int expert, std::int64_t row) const {
  const std::vector<std::byte> raw = bits(expert, row);
  std::vector<float> out(static_cast<std::size_t>(hidden_));
  if (dtype_ == DType::kFloat32) {
    std::memcpy(out.data(), raw.data(), raw.size());
    return out;
  }
  for (std::size_t i = 0; i < out.size(); ++i) {
    std::uint16_t stored = 0;
    std::memcpy(&stored, raw.data() + 2 * i, 2);
    out[i] = codec::bf16_to_float(stored);
  }
  return out;
}

bool Output::untouched(int expert, std::int64_t row) const {
  const std::vector<std::byte> raw = bits(expert, row);
  return std::all_of(raw.begin(), raw.end(), [](std::byte b) { return b == kUntouched; });
}

void Diff::add(const std::vector<double>& expected, const std::vector<float>& actual) {
  ASSERT_EQ(expected.size(), actual.size());
  for (std::size_t i = 0; i < expected.size(); ++i) {
    const double y = static_cast<double>(actual[i]);
    product_ += expected[i] * y;
    squares_ += expected[i] * expected[i] + y * y;
  }
}

std::vector<ExpertEngine> engines() {
#if defined(BRAID_THREAD_SANITIZER)
  return {ExpertEngine::kPlain};
#else
  return {ExpertEngine::kOneDnn, ExpertEngine::kPlain};
#endif
}

std::string engine_name(const testing::TestParamInfo<ExpertEngine>& info) {
  return info.param == ExpertEngine::kOneDnn ? "OneDnn" : "Plain";
}

}  // namespace braid::test
