// Rows written and read channel by channel from the formats' definitions: what every row kernel
// must equal, bit for bit. Also for a GPU's rows.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include "braid/format.hpp"
#include "codec/bfloat16.hpp"
#include "codec/logfmt.hpp"
#include "codec/row.hpp"
#include "codec/scale.hpp"

namespace braid::codec::testing {

using Channels = std::vector<std::uint16_t>;
using Bytes = std::vector<std::byte>;

template <class T>
void append(Bytes& bytes, const T& value) {
  const auto* begin = reinterpret_cast<const std::byte*>(&value);
  bytes.insert(bytes.end(), begin, begin + sizeof(T));
}

struct DispatchRow {
  Bytes data;
  Bytes scales;
};

inline DispatchRow reference_dispatch(DispatchFormat format, const Channels& x) {
  DispatchRow row;
  if (format == DispatchFormat::kBf16) {
    for (const std::uint16_t channel : x) append(row.data, channel);
    return row;
  }
  for (std::size_t begin = 0; begin < x.size(); begin += kScaleGroup) {
    std::uint16_t amax = 0;
    for (std::size_t i = begin; i < begin + kScaleGroup; ++i) {
      if (bf16_magnitude(x[i]) > amax) amax = bf16_magnitude(x[i]);
    }
    const GroupScale scale = group_scale(format, amax);
    for (std::size_t i = begin; i < begin + kScaleGroup; ++i) {
      append(row.data, encode_channel(x[i], scale.inverse));
    }
    if (format == DispatchFormat::kFp8Ue8m0) {
      append(row.scales, scale_to_ue8m0(scale.scale));
    } else {
      append(row.scales, scale.scale);
    }
  }
  while (row.scales.size() % 4 != 0) row.scales.push_back(std::byte{0});
  return row;
}

inline std::vector<float> reference_decode(DispatchFormat format, const DispatchRow& row,
                                           std::size_t hidden) {
  std::vector<float> out(hidden);
  for (std::size_t i = 0; i < hidden; ++i) {
    const std::size_t group = i / kScaleGroup;
    if (format == DispatchFormat::kBf16) {
      std::uint16_t channel = 0;
      std::memcpy(&channel, &row.data[2 * i], 2);
      out[i] = bf16_to_float(channel);
      continue;
    }
    float scale = 0;
    if (format == DispatchFormat::kFp8Ue8m0) {
      scale = ue8m0_to_scale(static_cast<std::uint8_t>(row.scales[group]));
    } else {
      std::memcpy(&scale, &row.scales[4 * group], 4);
    }
    out[i] = decode_channel(static_cast<std::uint8_t>(row.data[i]), scale);
  }
  return out;
}

struct CombineRow {
  Bytes bytes;
  std::vector<float> values;  // as the receiver reads them
};

inline LogFmtMeta meta_of(const Channels& x, std::size_t begin) {
  LogFmtMeta meta;
  for (std::size_t i = begin; i < begin + kScaleGroup; ++i) {
    const std::uint16_t magnitude = bf16_magnitude(x[i]);
    if (magnitude > meta.amax) meta.amax = magnitude;
    if (magnitude != 0 && (meta.amin == 0 || magnitude < meta.amin)) meta.amin = magnitude;
  }
  return meta;
}

inline CombineRow reference_combine(CombineFormat format, const Channels& x) {
  CombineRow row;
  if (format == CombineFormat::kBf16) {
    for (const std::uint16_t channel : x) {
      append(row.bytes, channel);
      row.values.push_back(bf16_to_float(channel));
    }
    return row;
  }
  for (std::size_t begin = 0; begin < x.size(); begin += kScaleGroup) {
    append(row.bytes, meta_of(x, begin));
  }
  while (row.bytes.size() % 16 != 0) row.bytes.push_back(std::byte{0});
  for (std::size_t begin = 0; begin < x.size(); begin += kScaleGroup) {
    const LogFmtMeta meta = meta_of(x, begin);
    if (!meta.is_cast()) {
      for (std::size_t i = begin; i < begin + kScaleGroup; ++i) {
        append(row.bytes, x[i]);
        row.values.push_back(bf16_to_float(x[i]));
      }
      continue;
    }
    const LogFmtGrid grid(meta);
    const std::size_t start = row.bytes.size();
    row.bytes.resize(start + kLogFmtCastBytes);
    for (std::size_t i = 0; i < kScaleGroup; ++i) {
      const std::uint32_t ten_bits = grid.encode(x[begin + i]);
      row.bytes[start + i] = static_cast<std::byte>(ten_bits & 0xffu);
      row.bytes[start + kLogFmtLowBytes + i / 4] |=
          static_cast<std::byte>((ten_bits >> 8) << (2 * (i % 4)));
      row.values.push_back(grid.decode(ten_bits));
    }
  }
  return row;
}

// Every bit but a NaN's: which NaN a sum carries is not defined.
inline std::uint32_t comparable_bits(float value) {
  const std::uint32_t bits = float_bits(value);
  return (bits & 0x7fffffffu) > 0x7f800000u ? kQuietNanBits : bits;
}

}  // namespace braid::codec::testing
