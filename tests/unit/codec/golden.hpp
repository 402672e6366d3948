// The formats' bits, as checksums: whatever writes or reads a row, on any machine and on a GPU,
// must reproduce them. A change here is a change of the wire.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "braid/format.hpp"
#include "codec/bfloat16.hpp"
#include "codec/exact.hpp"

namespace braid::codec::testing {

// FNV-1a, 64 bits.
class Checksum {
 public:
  void add(const void* data, std::size_t bytes) {
    const auto* begin = static_cast<const unsigned char*>(data);
    for (std::size_t i = 0; i < bytes; ++i) value_ = (value_ ^ begin[i]) * 0x100000001b3u;
  }
  // A NaN counts as the quiet NaN: which one arithmetic makes is the machine's own.
  void add_float(float value) {
    std::uint32_t bits = float_bits(value);
    if ((bits & 0x7fffffffu) > 0x7f800000u) bits = kQuietNanBits;
    add(&bits, sizeof(bits));
  }
  std::uint64_t value() const { return value_; }

 private:
  std::uint64_t value_ = 0xcbf29ce484222325u;
};

// One row of 4 * 65536 channels: every BF16 in order (each group within one octave); every BF16
// spread over the groups; all of them again, finite and below one; and within eight octaves.
inline std::vector<std::uint16_t> golden_channels() {
  std::vector<std::uint16_t> x;
  for (std::uint32_t i = 0; i < 0x10000; ++i) x.push_back(static_cast<std::uint16_t>(i));
  for (std::uint32_t i = 0; i < 0x10000; ++i) x.push_back(static_cast<std::uint16_t>(i * 40503));
  for (std::uint32_t i = 0; i < 0x10000; ++i) {
    const auto mixed = static_cast<std::uint16_t>(i * 40503);
    x.push_back(static_cast<std::uint16_t>((mixed & 0x8000) | (bf16_magnitude(mixed) % 0x3f80)));
  }
  for (std::uint32_t i = 0; i < 0x10000; ++i) {
    const auto mixed = static_cast<std::uint16_t>(i * 40503);
    x.push_back(static_cast<std::uint16_t>((mixed & 0x8000) | (0x3b80 + (mixed & 0x03ff))));
  }
  return x;
}

// Eight rows of 65536 finite channels and their weights, for the weighted sum.
inline std::vector<std::uint16_t> golden_sum_row(std::uint32_t row) {
  std::vector<std::uint16_t> x;
  for (std::uint32_t i = 0; i < 0x10000; ++i) {
    const std::uint32_t mixed = (i + 8191 * row) * (2 * row + 40503);
    x.push_back(static_cast<std::uint16_t>((mixed & 0x8000) | (0x3000 + (mixed & 0x1fff))));
  }
  return x;
}
inline constexpr int kGoldenSumRows = 8;
inline constexpr float kGoldenWeights[kGoldenSumRows] = {0.3f,  0.1f,   -0.7f, 1.0f,
                                                         0.01f, 0.123f, 0.9f,  -1e-3f};

// Over golden_channels(): the row's bytes (data, then scales; for LogFMT the whole row), and the
// float32 values that a receiver makes of it (LogFMT: accumulated with weight 1 on zeros).
struct GoldenRow {
  std::uint64_t bytes;
  std::uint64_t values;
};
inline constexpr GoldenRow kGoldenDispatch[kNumDispatchFormats] = {
    {0x32e80bd3f12484b5, 0x9ba3a1f2218327a5},  // bf16
    {0xebac3f984e4efebd, 0x9fba88e502cd71d9},  // fp8
    {0xa33dbf7f1c91fdad, 0x31d2c50dd3877445},  // fp8_pow2
    {0x45bec6848bc88bc1, 0x31d2c50dd3877445},  // fp8_ue8m0
};
inline constexpr GoldenRow kGoldenCombine[kNumCombineFormats] = {
    {0x32e80bd3f12484b5, 0x6c5b975ab7ae0d25},  // bf16
    {0xe39c27a4a2b29631, 0x3d51c0dd47c45259},  // logfmt10
};
// The BF16 channels of the weighted sum.
inline constexpr std::uint64_t kGoldenSum = 0x6c083daeb5dd0745;

// LogFMT's own functions, which seldom show all of their bits in a code: log2_of_bf16 of every
// finite BF16 above zero (whole, fraction), and exp2_of(i / 2048) for i in 0..65536.
inline constexpr std::uint64_t kGoldenLog2 = 0xe73ddee75f8845d3;
inline constexpr std::uint64_t kGoldenExp2 = 0x49e548e2b308ed48;

}  // namespace braid::codec::testing
