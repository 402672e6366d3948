// LogFMT-10: ten bits a value on a logarithmic grid, for a group of 128 channels.
//
// With lo and hi the smallest and largest magnitude of the group's channels that are not zero
// (lo raised to at least hi * 2^-32), the grid has 511 values from lo to hi, neighbors at the
// ratio 2^step, step = log2(hi / lo) / 510; code c in 1..511 stands for lo * 2^((c - 1) * step),
// code 0 for zero, and a sign bit beside it. A value takes the nearer of its two grid values,
// measured linearly; below lo it takes lo or zero, whichever is nearer, counting zero's border
// halfway between lo and lo * 2^-step.
//
// A group is cast so if lo < hi < 1, or if all of it is zero (signs are kept); any other travels
// as BF16: hi >= 1, one magnitude only, an infinity, a NaN. Each group has four bytes of metadata,
// hi and lo as BF16, and they alone say whether it is cast. Channels are BF16, so both are exact:
// the encoder computes from the same bits as the decoder. Subnormals are values like any other.
//
// A cast group is 160 bytes: the low eight bits of each code, then two bits a channel, bit 8 and
// the sign, four channels to a byte, the first in the lowest bits. An uncast one is its 256 bytes.
#pragma once

#include <cstdint>

#include "base/device.hpp"
#include "codec/bfloat16.hpp"
#include "codec/exact.hpp"
#include "codec/log2.hpp"

namespace braid::codec {

inline constexpr int kLogFmtCastBytes = 160;
inline constexpr int kLogFmtRawBytes = 256;
inline constexpr int kLogFmtLowBytes = 128;  // of a cast group; the two-bit fields follow
inline constexpr std::uint32_t kLogFmtSign = 0x200;
inline constexpr float kLogFmtMaxSpan = 32.0f;  // log2(hi / lo) at most

// As it travels: two BF16, each a bf16_magnitude().
struct LogFmtMeta {
  std::uint16_t amax = 0;  // of all channels; infinity and NaN are the largest
  std::uint16_t amin = 0;  // of the channels that are not zero; 0 if all are

  BRAID_HD constexpr bool is_cast() const {
    return amax == 0 || (amin != 0 && amin < amax && amax < kBf16One);
  }
  BRAID_HD constexpr int group_bytes() const {
    return is_cast() ? kLogFmtCastBytes : kLogFmtRawBytes;
  }
};
static_assert(sizeof(LogFmtMeta) == 4);

// The grid of a group that is_cast().
struct LogFmtGrid {
  Log2Parts lo_log2;
  float lo = 0.0f;
  float step = 0.0f;
  float steps_per_octave = 0.0f;  // 1 / step
  float offset = 0.0f;

  BRAID_HD constexpr explicit LogFmtGrid(LogFmtMeta meta) {
    if (meta.amax == 0) return;  // lo = step = 0: every code is 0, and every code decodes to 0
    const Log2Parts hi_log2 = log2_of_bf16(meta.amax);
    lo_log2 = log2_of_bf16(meta.amin);
    lo = bf16_to_float(meta.amin);
    float span = log2_difference(hi_log2, lo_log2);
    if (span > kLogFmtMaxSpan) {
      span = kLogFmtMaxSpan;
      lo_log2 = {add_rn(hi_log2.whole, -kLogFmtMaxSpan), hi_log2.fraction};
      lo = mul_rn(bf16_to_float(meta.amax), 0x1p-32f);  // exact: 8 bits of mantissa
    }
    step = div_rn(span, 510.0f);
    steps_per_octave = div_rn(510.0f, span);
    // code = floor(log2(x / lo) / step + offset), offset = 2 - log2((1 + 2^step) / 2) / step,
    // which puts the border between two codes halfway between their values. As a series in step
    // (error below 1e-10): the formula itself would cancel away its digits where step is small.
    const float ln2 = 0x1.62e430p-1f;
    const float u = mul_rn(step, ln2);
    const float bend = mul_rn(u, fma_rn(mul_rn(u, u), -1.0f / 192.0f, 0.125f));
    offset = add_rn(1.5f, -bend);
  }

  // Ten bits: the code, and kLogFmtSign.
  BRAID_HD constexpr std::uint32_t encode(std::uint16_t x) const {
    const std::uint16_t magnitude = bf16_magnitude(x);
    const float above = log2_difference(log2_of_bf16(magnitude), lo_log2);
    float position = fma_rn(above, steps_per_octave, offset);
    position = position > 0.0f ? position : 0.0f;
    position = position < 511.0f ? position : 511.0f;
    const std::int32_t code = static_cast<std::int32_t>(position);
    const std::uint32_t kept = magnitude == 0 ? 0u : static_cast<std::uint32_t>(code);
    return kept | ((static_cast<std::uint32_t>(x) >> 6) & kLogFmtSign);
  }

  BRAID_HD constexpr float decode(std::uint32_t ten_bits) const {
    const std::uint32_t code = ten_bits & 0x1ffu;
    const float above = mul_rn(static_cast<float>(static_cast<std::int32_t>(code) - 1), step);
    const float value = mul_rn(lo, exp2_of(above));
    const std::uint32_t bits = float_bits(value) & (code == 0u ? 0u : ~0u);
    return float_from_bits(bits | ((ten_bits & kLogFmtSign) << 22));
  }
};

}  // namespace braid::codec
