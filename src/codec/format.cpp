#include "braid/format.hpp"

#include <string_view>

#include "base/check.hpp"

namespace braid {

const char* to_string(DispatchFormat format) noexcept {
  switch (format) {
    case DispatchFormat::kBf16: return "bf16";
    case DispatchFormat::kFp8: return "fp8";
    case DispatchFormat::kFp8Pow2: return "fp8_pow2";
    case DispatchFormat::kFp8Ue8m0: return "fp8_ue8m0";
  }
  return "unknown";
}

const char* to_string(CombineFormat format) noexcept {
  switch (format) {
    case CombineFormat::kBf16: return "bf16";
    case CombineFormat::kLogFmt10: return "logfmt10";
  }
  return "unknown";
}

const char* to_string(ScaleLayout layout) noexcept {
  switch (layout) {
    case ScaleLayout::kRowMajor: return "row";
    case ScaleLayout::kColumnMajor: return "column";
  }
  return "unknown";
}

DispatchFormat parse_dispatch_format(const char* text) {
  const std::string_view given = text == nullptr ? "" : text;
  for (int i = 0; i < kNumDispatchFormats; ++i) {
    const auto format = static_cast<DispatchFormat>(i);
    if (given == to_string(format)) return format;
  }
  fail(ErrorCode::kInvalidArgument,
       "dispatch format is \"{}\", but must be bf16, fp8, fp8_pow2 or fp8_ue8m0", given);
}

CombineFormat parse_combine_format(const char* text) {
  const std::string_view given = text == nullptr ? "" : text;
  for (int i = 0; i < kNumCombineFormats; ++i) {
    const auto format = static_cast<CombineFormat>(i);
    if (given == to_string(format)) return format;
  }
  fail(ErrorCode::kInvalidArgument, "combine format is \"{}\", but must be bf16 or logfmt10",
       given);
}

ScaleLayout parse_scale_layout(const char* text) {
  const std::string_view given = text == nullptr ? "" : text;
  for (const ScaleLayout layout : {ScaleLayout::kRowMajor, ScaleLayout::kColumnMajor}) {
    if (given == to_string(layout)) return layout;
  }
  fail(ErrorCode::kInvalidArgument, "scale layout is \"{}\", but must be row or column", given);
}

}  // namespace braid
