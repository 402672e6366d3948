// Every build of the row kernels against the definitions.
#include "codec/rows.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>
#include <string>
#include <utility>

#include "unit/codec/reference_rows.hpp"

namespace braid::codec::testing {
namespace {

constexpr std::byte kCanary{0xa5};

struct NamedRow {
  std::string name;
  Channels x;
};

Channels random_row(int hidden, std::uint32_t seed, float magnitude) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal(0.0f, magnitude);
  Channels x(static_cast<std::size_t>(hidden));
  for (std::uint16_t& channel : x) channel = float_to_bf16(normal(generator));
  return x;
}

Channels any_bits_row(int hidden, std::uint32_t seed) {
  std::mt19937 generator(seed);
  Channels x(static_cast<std::size_t>(hidden));
  for (std::uint16_t& channel : x) channel = static_cast<std::uint16_t>(generator());
  return x;
}

// Lengths from one group on, and what is hard: every bit pattern, NaN and infinity among
// ordinary groups, zeros of both signs, subnormals, one magnitude only, 32 octaves in one group.
std::vector<NamedRow> grouped_rows() {
  std::vector<NamedRow> rows;
  for (const int hidden : {128, 256, 384, 640, 2048, 7168}) {
    for (const float magnitude : {1e-6f, 0.02f, 0.3f, 50.0f}) {
      rows.push_back({"random " + std::to_string(hidden),
                      random_row(hidden, static_cast<std::uint32_t>(hidden), magnitude)});
    }
    rows.push_back({"any bits " + std::to_string(hidden), any_bits_row(hidden, 7)});
  }
  Channels all(0x10000);
  for (std::size_t i = 0; i < all.size(); ++i) all[i] = static_cast<std::uint16_t>(i);
  rows.push_back({"all values", all});
  for (std::size_t i = 0; i < all.size(); ++i) all[i] = static_cast<std::uint16_t>(i * 40503);
  rows.push_back({"all values, shuffled", all});
  for (std::uint16_t& channel : all) {
    if (bf16_magnitude(channel) >= kBf16One) channel = static_cast<std::uint16_t>(channel & 0xbfff);
  }
  rows.push_back({"all below two, shuffled", all});
  for (const auto& [name, value] : {std::pair{"zeros", 0x0000},
                                    {"negative zeros", 0x8000},
                                    {"one value", 0x3e99},
                                    {"smallest subnormal", 0x0001},
                                    {"infinity", 0x7f80},
                                    {"NaN", 0xffff},
                                    {"largest", 0x7f7f}}) {
    rows.push_back({name, Channels(384, static_cast<std::uint16_t>(value))});
    Channels mixed = random_row(640, 3, 0.1f);
    mixed[200] = static_cast<std::uint16_t>(value);  // the second group of five
    rows.push_back({std::string("one channel of ") + name, mixed});
    std::fill_n(mixed.begin() + 384, 128, static_cast<std::uint16_t>(value));
    rows.push_back({std::string("one group of ") + name, mixed});
  }
  return rows;
}

// BF16 needs only multiples of 8.
std::vector<NamedRow> plain_rows() {
  std::vector<NamedRow> rows = grouped_rows();
  for (const int hidden : {8, 24, 136, 2880}) {
    rows.push_back({"random " + std::to_string(hidden), random_row(hidden, 5, 1.0f)});
    rows.push_back({"any bits " + std::to_string(hidden), any_bits_row(hidden, 9)});
  }
  return rows;
}

class EveryBuild : public ::testing::TestWithParam<const RowKernels*> {
 protected:
  const RowKernels& kernels() const { return *GetParam(); }
};

void expect_bytes(const Bytes& written, const Bytes& expected) {
  ASSERT_GE(written.size(), expected.size() + 1);
  for (std::size_t i = 0; i < expected.size(); ++i) ASSERT_EQ(written[i], expected[i]) << i;
  ASSERT_EQ(written[expected.size()], kCanary) << "written beyond the end";
}

TEST_P(EveryBuild, EncodesDispatchRowsAsDefined) {
  for (int f = 0; f < kNumDispatchFormats; ++f) {
    const auto format = static_cast<DispatchFormat>(f);
    for (const auto& [name, x] : format == DispatchFormat::kBf16 ? plain_rows() : grouped_rows()) {
      SCOPED_TRACE(std::string(to_string(format)) + ", " + name);
      const DispatchRow expected = reference_dispatch(format, x);
      const auto hidden = static_cast<std::int64_t>(x.size());
      ASSERT_EQ(dispatch_data_bytes(format, hidden), expected.data.size());
      ASSERT_EQ(dispatch_scale_bytes(format, hidden), expected.scales.size());
      Bytes data(expected.data.size() + 64, kCanary);
      Bytes scales(expected.scales.size() + 64, kCanary);
      kernels().encode_dispatch(format, x.data(), static_cast<int>(hidden), data.data(),
                                scales.data());
      ASSERT_NO_FATAL_FAILURE(expect_bytes(data, expected.data));
      ASSERT_NO_FATAL_FAILURE(expect_bytes(scales, expected.scales));
    }
  }
}

TEST_P(EveryBuild, DecodesDispatchRowsAsDefined) {
  std::mt19937 generator(11);
  for (int f = 0; f < kNumDispatchFormats; ++f) {
    const auto format = static_cast<DispatchFormat>(f);
    for (const int hidden : {128, 640, 65536}) {
      DispatchRow row;  // any bytes at all: every code under ordinary and strange scales
      row.data.resize(static_cast<std::size_t>(dispatch_data_bytes(format, hidden)));
      row.scales.resize(static_cast<std::size_t>(dispatch_scale_bytes(format, hidden)));
      for (std::byte& byte : row.data) byte = static_cast<std::byte>(generator());
      for (std::byte& byte : row.scales) byte = static_cast<std::byte>(generator());
      const std::vector<float> expected =
          reference_decode(format, row, static_cast<std::size_t>(hidden));
      std::vector<float> out(static_cast<std::size_t>(hidden));
      kernels().decode_dispatch(format, row.data.data(), row.scales.data(), hidden, out.data());
      for (std::size_t i = 0; i < out.size(); ++i) {
        ASSERT_EQ(float_bits(out[i]), float_bits(expected[i])) << to_string(format) << " " << i;
      }
    }
  }
}

TEST_P(EveryBuild, EncodesAndAccumulatesCombineRowsAsDefined) {
  for (int f = 0; f < kNumCombineFormats; ++f) {
    const auto format = static_cast<CombineFormat>(f);
    for (const auto& [name, x] : format == CombineFormat::kBf16 ? plain_rows() : grouped_rows()) {
      SCOPED_TRACE(std::string(to_string(format)) + ", " + name);
      const CombineRow expected = reference_combine(format, x);
      const int hidden = static_cast<int>(x.size());
      ASSERT_LE(expected.bytes.size(), combine_row_max_bytes(format, hidden));
      Bytes row(expected.bytes.size() + 64, kCanary);
      ASSERT_EQ(kernels().encode_combine(format, x.data(), hidden, row.data()),
                expected.bytes.size());
      ASSERT_NO_FATAL_FAILURE(expect_bytes(row, expected.bytes));

      std::vector<float> sums(x.size());
      for (std::size_t i = 0; i < sums.size(); ++i) sums[i] = static_cast<float>(i % 13) - 6.0f;
      const std::vector<float> before = sums;
      kernels().accumulate_combine(format, row.data(), hidden, 0.37f, sums.data());
      for (std::size_t i = 0; i < sums.size(); ++i) {
        ASSERT_EQ(comparable_bits(sums[i]),
                  comparable_bits(accumulate(before[i], 0.37f, expected.values[i])))
            << i;
      }
    }
  }
}

TEST_P(EveryBuild, StoresSumsAsDefined) {
  std::mt19937 generator(13);
  std::vector<float> sums(4099);
  for (float& sum : sums) sum = float_from_bits(static_cast<std::uint32_t>(generator()));
  sums[0] = float_from_bits(0xffc12345u);
  Channels out(sums.size());
  kernels().store_bf16(sums.data(), static_cast<int>(sums.size()), out.data());
  for (std::size_t i = 0; i < sums.size(); ++i) ASSERT_EQ(out[i], sum_to_bf16(sums[i])) << i;
}

TEST_P(EveryBuild, WeightedSumEqualsOneRowAfterAnother) {
  std::mt19937 generator(17);
  std::uniform_real_distribution<float> uniform(-1.0f, 1.0f);
  for (const int hidden : {8, 24, 128, 136, 2048, 2880}) {
    for (const int num_rows : {0, 1, 2, 3, 4, 5, 7, 8, 9, 32}) {
      SCOPED_TRACE(std::to_string(num_rows) + " rows of " + std::to_string(hidden));
      std::vector<Channels> rows;
      std::vector<const std::uint16_t*> pointers;
      std::vector<float> weights;
      for (int r = 0; r < num_rows; ++r) {
        const auto seed = static_cast<std::uint32_t>(100 * hidden + r);
        rows.push_back(r == 6 ? any_bits_row(hidden, seed) : random_row(hidden, seed, 2.0f));
        weights.push_back(uniform(generator));
      }
      for (const Channels& row : rows) pointers.push_back(row.data());
      std::vector<float> sums(static_cast<std::size_t>(hidden));
      std::vector<float> stepwise(sums.size());
      for (std::size_t r = 0; r < rows.size(); ++r) {
        for (std::size_t i = 0; i < sums.size(); ++i) {
          sums[i] = accumulate(sums[i], weights[r], bf16_to_float(rows[r][i]));
        }
        kernels().accumulate_bf16(rows[r].data(), hidden, weights[r], stepwise.data());
      }
      Channels out(sums.size() + 1, 0xa5a5);
      kernels().weighted_sum_bf16(pointers.data(), weights.data(), num_rows, hidden, out.data());
      for (std::size_t i = 0; i < sums.size(); ++i) {
        ASSERT_EQ(out[i], sum_to_bf16(sums[i])) << i;
        ASSERT_EQ(comparable_bits(stepwise[i]), comparable_bits(sums[i])) << i;
      }
      ASSERT_EQ(out.back(), 0xa5a5) << "written beyond the end";
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Rows, EveryBuild, ::testing::ValuesIn(available_row_kernels()),
                         [](const auto& tested) { return std::string(tested.param->name); });

TEST(Rows, TheDefaultIsTheLastOfTheAvailable) {
  const auto available = available_row_kernels();
  ASSERT_FALSE(available.empty());
  EXPECT_STREQ(available.front()->name, "baseline");
  EXPECT_EQ(&row_kernels(), available.back());
}

TEST(Rows, AMixedRowHasThePackedLengthOfItsGroups) {
  Channels x = random_row(640, 1, 0.05f);
  x[130] = 0x4000;                                           // 2.0 in the second group
  std::fill_n(x.begin() + 256, 128, std::uint16_t{0});       // the third is zero
  std::fill_n(x.begin() + 512, 128, std::uint16_t{0x3e00});  // the fifth has one value
  Bytes row(static_cast<std::size_t>(combine_row_max_bytes(CombineFormat::kLogFmt10, 640)));
  const std::size_t bytes =
      row_kernels().encode_combine(CombineFormat::kLogFmt10, x.data(), 640, row.data());
  EXPECT_EQ(bytes, 32u + 160 + 256 + 160 + 160 + 256);
}

TEST(Rows, ALogFmtRowOfOrdinaryValuesIsNearItsBf16) {
  const Channels x = random_row(7168, 21, 0.05f);
  Bytes row(static_cast<std::size_t>(combine_row_max_bytes(CombineFormat::kLogFmt10, 7168)));
  row_kernels().encode_combine(CombineFormat::kLogFmt10, x.data(), 7168, row.data());
  std::vector<float> back(x.size());
  row_kernels().accumulate_combine(CombineFormat::kLogFmt10, row.data(), 7168, 1.0f, back.data());
  double products = 0;
  double squares = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double a = bf16_to_float(x[i]);
    const double b = back[i];
    products += a * b;
    squares += a * a + b * b;
  }
  EXPECT_LT(1.0 - 2.0 * products / squares, 2e-4);
  EXPECT_GT(1.0 - 2.0 * products / squares, 0.0) << "nothing was encoded";
}

}  // namespace
}  // namespace braid::codec::testing
