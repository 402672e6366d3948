// How many bytes a row of H channels takes in each format: host, kernels, planner and tests ask
// here. H is a multiple of hidden_multiple(format); layout adds padding and what stands around.
#pragma once

#include <cstdint>

#include "base/device.hpp"
#include "base/math.hpp"
#include "braid/format.hpp"
#include "codec/logfmt.hpp"

namespace braid::codec {

BRAID_HD constexpr int hidden_multiple(DispatchFormat format) {
  return format == DispatchFormat::kBf16 ? 8 : kScaleGroup;
}

BRAID_HD constexpr int hidden_multiple(CombineFormat format) {
  return format == CombineFormat::kBf16 ? 8 : kScaleGroup;
}

// The channels alone: two bytes each, or one.
BRAID_HD constexpr std::int64_t dispatch_data_bytes(DispatchFormat format, std::int64_t hidden) {
  return format == DispatchFormat::kBf16 ? 2 * hidden : hidden;
}

// The scales alone, in group order, unpadded: a float32 each; or for UE8M0 a byte each, in whole
// int32 (group 4i + j is byte j of int32 i, little-endian), bytes beyond the last group zero.
BRAID_HD constexpr std::int64_t dispatch_scale_bytes(DispatchFormat format, std::int64_t hidden) {
  switch (format) {
    case DispatchFormat::kBf16: return 0;
    case DispatchFormat::kFp8:
    case DispatchFormat::kFp8Pow2: return 4 * (hidden / kScaleGroup);
    case DispatchFormat::kFp8Ue8m0:
      return 4 * ceil_div(hidden, static_cast<std::int64_t>(4 * kScaleGroup));
  }
  return 0;
}

// LogFMT: where the first group's bytes begin, after the metadata and zeros up to 16 bytes.
BRAID_HD constexpr std::int64_t logfmt_meta_bytes(std::int64_t hidden) {
  return round_up(4 * (hidden / kScaleGroup), std::int64_t{16});
}

// The most a combine row can take: a LogFMT row with every group as BF16.
BRAID_HD constexpr std::int64_t combine_row_max_bytes(CombineFormat format, std::int64_t hidden) {
  if (format == CombineFormat::kBf16) return 2 * hidden;
  return logfmt_meta_bytes(hidden) + kLogFmtRawBytes * (hidden / kScaleGroup);
}

static_assert(combine_row_max_bytes(CombineFormat::kLogFmt10, 128) == 16 + 256);
static_assert(dispatch_scale_bytes(DispatchFormat::kFp8Ue8m0, 7168) == 56);

}  // namespace braid::codec
