#include "codec/logfmt.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <vector>

namespace braid::codec {
namespace {

// The format's definition in double, from the two BF16 that travel.
struct Oracle {
  explicit Oracle(LogFmtMeta meta) {
    const double hi = bf16_to_float(meta.amax);
    lo = std::fmax(bf16_to_float(meta.amin), hi * 0x1p-32);
    step = std::log2(hi / lo) / 510.0;
  }
  double value(int code) const { return code == 0 ? 0.0 : lo * std::exp2((code - 1) * step); }
  double position(double magnitude) const {
    return std::log2(magnitude / lo) / step + 2.0 - std::log2((1.0 + std::exp2(step)) / 2.0) / step;
  }
  // How far float32 may be from position(): roundings near 512, and the logarithms' own error
  // (2^-22 of an octave), which counts more the finer the grid is.
  double epsilon() const { return 0x1p-13 + 0x1p-22 / step; }

  double lo;
  double step;
};

std::vector<LogFmtMeta> sample_metas() {
  std::vector<LogFmtMeta> metas;
  for (const int hi : {0x3f7f, 0x3f40, 0x3e00, 0x3501, 0x2000, 0x1080, 0x0475, 0x0080, 0x007f}) {
    for (const int below : {1, 2, 5, 40, 127, 128, 129, 700, 2000, 4095, 4096, 4097, 9000, 16000}) {
      if (below >= hi) continue;
      metas.push_back({static_cast<std::uint16_t>(hi), static_cast<std::uint16_t>(hi - below)});
    }
    metas.push_back({static_cast<std::uint16_t>(hi), 1});
  }
  return metas;
}

TEST(LogFmt, EveryCodeIsTheFormulasUnlessItIsAtABorder) {
  std::int64_t compared = 0;
  std::int64_t differing = 0;
  for (const LogFmtMeta meta : sample_metas()) {
    ASSERT_TRUE(meta.is_cast());
    const LogFmtGrid grid(meta);
    const Oracle oracle(meta);
    for (std::uint32_t x = meta.amin; x <= meta.amax; ++x) {
      const auto channel = static_cast<std::uint16_t>(x);
      const double position = oracle.position(bf16_to_float(channel));
      const int expected = static_cast<int>(std::fmin(std::fmax(std::floor(position), 0.0), 511.0));
      const int code = static_cast<int>(grid.encode(channel));
      ++compared;
      if (code == expected) continue;
      ++differing;
      const double nearest = std::round(position);
      ASSERT_EQ(std::abs(code - expected), 1) << meta.amax << " " << meta.amin << " " << x;
      ASSERT_LE(std::fabs(position - nearest), oracle.epsilon())
          << meta.amax << " " << meta.amin << " " << x << " at " << position;
    }
  }
  EXPECT_GT(compared, 100'000);
  EXPECT_LT(differing * 1000, compared);  // borders are rare
}

TEST(LogFmt, EndsOfTheGridAreCodesOneAnd511AndComeBack) {
  for (const LogFmtMeta meta : sample_metas()) {
    const LogFmtGrid grid(meta);
    const Oracle oracle(meta);
    ASSERT_EQ(grid.encode(meta.amax), 511u) << meta.amax << " " << meta.amin;
    ASSERT_EQ(grid.decode(1), static_cast<float>(oracle.lo));
    const double hi = bf16_to_float(meta.amax);
    // Beside the arithmetic's own error, a subnormal result is a multiple of 2^-149.
    ASSERT_NEAR(grid.decode(511), hi, hi * 0x1p-18 + 0x1p-149) << meta.amax << " " << meta.amin;
    if (oracle.lo == static_cast<double>(bf16_to_float(meta.amin))) {
      ASSERT_EQ(grid.encode(meta.amin), 1u) << meta.amax << " " << meta.amin;
    }
  }
}

TEST(LogFmt, EveryValueComesBackWithinHalfAStep) {
  for (const LogFmtMeta meta : sample_metas()) {
    const LogFmtGrid grid(meta);
    const Oracle oracle(meta);
    for (std::uint32_t x = meta.amin; x <= meta.amax; ++x) {
      const auto channel = static_cast<std::uint16_t>(x);
      const double value = bf16_to_float(channel);
      const std::uint32_t code = grid.encode(channel);
      const double back = grid.decode(code);
      // Half the distance of the two grid values around it; below the grid, lo or zero.
      const double half_step =
          value < oracle.lo ? oracle.lo : value * (std::exp2(oracle.step) - 1.0) / 2.0;
      ASSERT_LE(std::fabs(back - value), half_step + value * 0x1p-18 + 0x1p-149)
          << meta.amax << " " << meta.amin << " " << x;
      // A sign is a bit apart, and doesn't disturb the rest.
      const auto negative = static_cast<std::uint16_t>(channel | kBf16Sign);
      ASSERT_EQ(grid.encode(negative), code | kLogFmtSign);
      ASSERT_EQ(float_bits(grid.decode(code | kLogFmtSign)),
                float_bits(grid.decode(code)) | 0x80000000u);
    }
  }
}

TEST(LogFmt, CodesDecodeToTheGridInOrder) {
  for (const LogFmtMeta meta : sample_metas()) {
    const LogFmtGrid grid(meta);
    const Oracle oracle(meta);
    EXPECT_EQ(float_bits(grid.decode(0)), 0u);
    EXPECT_EQ(float_bits(grid.decode(kLogFmtSign)), 0x80000000u);
    for (std::uint32_t code = 1; code < 512; ++code) {
      const double exact = oracle.value(static_cast<int>(code));
      ASSERT_NEAR(grid.decode(code), exact, exact * 0x1p-18 + 0x1p-149) << code;
      ASSERT_GE(grid.decode(code), grid.decode(code - 1)) << code;
    }
  }
}

TEST(LogFmt, ZerosKeepTheirCodeAndSignInAnyGroup) {
  for (const LogFmtMeta meta : sample_metas()) {
    const LogFmtGrid grid(meta);
    EXPECT_EQ(grid.encode(0x0000), 0u);
    EXPECT_EQ(grid.encode(0x8000), kLogFmtSign);
  }
  const LogFmtMeta all_zero;
  EXPECT_TRUE(all_zero.is_cast());
  const LogFmtGrid grid(all_zero);
  EXPECT_EQ(grid.encode(0x8000), kLogFmtSign);
  EXPECT_EQ(float_bits(grid.decode(kLogFmtSign)), 0x80000000u);
  for (std::uint32_t code = 0; code < 512; ++code) EXPECT_EQ(grid.decode(code), 0.0f);
}

TEST(LogFmt, OnlyAGroupBelowOneWithTwoMagnitudesIsCast) {
  EXPECT_TRUE((LogFmtMeta{0x3f7f, 0x3f7e}).is_cast());
  EXPECT_TRUE((LogFmtMeta{0x0002, 0x0001}).is_cast());
  EXPECT_FALSE((LogFmtMeta{0x3f80, 0x3000}).is_cast()) << "amax is 1";
  EXPECT_FALSE((LogFmtMeta{0x3f00, 0x3f00}).is_cast()) << "one magnitude";
  EXPECT_FALSE((LogFmtMeta{0x7f80, 0x3000}).is_cast()) << "infinity";
  EXPECT_FALSE((LogFmtMeta{0x7fc0, 0x3000}).is_cast()) << "NaN";
  EXPECT_FALSE((LogFmtMeta{0x7fff, 0x7fff}).is_cast()) << "only NaN";
}

}  // namespace
}  // namespace braid::codec
