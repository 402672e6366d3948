#include "unit/codec/golden.hpp"

#include <gtest/gtest.h>

#include "codec/log2.hpp"
#include "codec/row.hpp"
#include "codec/rows.hpp"

namespace braid::codec::testing {
namespace {

class Golden : public ::testing::TestWithParam<const RowKernels*> {};

TEST_P(Golden, DispatchRowsHaveTheFormatsBits) {
  const std::vector<std::uint16_t> x = golden_channels();
  const int hidden = static_cast<int>(x.size());
  for (int f = 0; f < kNumDispatchFormats; ++f) {
    const auto format = static_cast<DispatchFormat>(f);
    std::vector<std::byte> data(static_cast<std::size_t>(dispatch_data_bytes(format, hidden)));
    std::vector<std::byte> scales(static_cast<std::size_t>(dispatch_scale_bytes(format, hidden)));
    GetParam()->encode_dispatch(format, x.data(), hidden, data.data(), scales.data());
    Checksum bytes;
    bytes.add(data.data(), data.size());
    bytes.add(scales.data(), scales.size());
    EXPECT_EQ(bytes.value(), kGoldenDispatch[f].bytes) << to_string(format);

    std::vector<float> out(x.size());
    GetParam()->decode_dispatch(format, data.data(), scales.data(), hidden, out.data());
    Checksum values;
    for (const float value : out) values.add_float(value);
    EXPECT_EQ(values.value(), kGoldenDispatch[f].values) << to_string(format);
  }
}

TEST_P(Golden, CombineRowsHaveTheFormatsBits) {
  const std::vector<std::uint16_t> x = golden_channels();
  const int hidden = static_cast<int>(x.size());
  for (int f = 0; f < kNumCombineFormats; ++f) {
    const auto format = static_cast<CombineFormat>(f);
    std::vector<std::byte> row(static_cast<std::size_t>(combine_row_max_bytes(format, hidden)));
    Checksum bytes;
    bytes.add(row.data(), GetParam()->encode_combine(format, x.data(), hidden, row.data()));
    EXPECT_EQ(bytes.value(), kGoldenCombine[f].bytes) << to_string(format);

    std::vector<float> sums(x.size());
    GetParam()->accumulate_combine(format, row.data(), hidden, 1.0f, sums.data());
    Checksum values;
    for (const float sum : sums) values.add_float(sum);
    EXPECT_EQ(values.value(), kGoldenCombine[f].values) << to_string(format);
  }
}

TEST_P(Golden, WeightedSumHasItsBits) {
  std::vector<std::vector<std::uint16_t>> rows;
  std::vector<const std::uint16_t*> pointers;
  for (std::uint32_t r = 0; r < kGoldenSumRows; ++r) rows.push_back(golden_sum_row(r));
  for (const auto& row : rows) pointers.push_back(row.data());
  std::vector<std::uint16_t> out(rows[0].size());
  GetParam()->weighted_sum_bf16(pointers.data(), kGoldenWeights, kGoldenSumRows,
                                static_cast<int>(out.size()), out.data());
  Checksum bytes;
  bytes.add(out.data(), 2 * out.size());
  EXPECT_EQ(bytes.value(), kGoldenSum);
}

TEST(GoldenFunctions, Log2AndExp2HaveTheirBits) {
  Checksum logarithms;
  for (std::uint32_t i = 1; i < kBf16Infinity; ++i) {
    const Log2Parts parts = log2_of_bf16(static_cast<std::uint16_t>(i));
    logarithms.add_float(parts.whole);
    logarithms.add_float(parts.fraction);
  }
  EXPECT_EQ(logarithms.value(), kGoldenLog2);
  Checksum powers;
  for (int i = 0; i <= 65536; ++i) powers.add_float(exp2_of(static_cast<float>(i) * 0x1p-11f));
  EXPECT_EQ(powers.value(), kGoldenExp2);
}

INSTANTIATE_TEST_SUITE_P(Codec, Golden, ::testing::ValuesIn(available_row_kernels()),
                         [](const auto& tested) { return std::string(tested.param->name); });

}  // namespace
}  // namespace braid::codec::testing
