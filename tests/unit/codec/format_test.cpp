// Names and row sizes.
#include "braid/format.hpp"

#include <gtest/gtest.h>

#include <string>

#include "braid/error.hpp"
#include "codec/row.hpp"

namespace braid {
namespace {

TEST(Format, EveryNameParsesBackToItsFormat) {
  for (int i = 0; i < kNumDispatchFormats; ++i) {
    const auto format = static_cast<DispatchFormat>(i);
    EXPECT_EQ(parse_dispatch_format(to_string(format)), format);
  }
  for (int i = 0; i < kNumCombineFormats; ++i) {
    const auto format = static_cast<CombineFormat>(i);
    EXPECT_EQ(parse_combine_format(to_string(format)), format);
  }
  for (const ScaleLayout layout : {ScaleLayout::kRowMajor, ScaleLayout::kColumnMajor}) {
    EXPECT_EQ(parse_scale_layout(to_string(layout)), layout);
  }
  EXPECT_EQ(parse_scale_layout("column"), ScaleLayout::kColumnMajor);
  EXPECT_EQ(parse_dispatch_format("fp8_ue8m0"), DispatchFormat::kFp8Ue8m0);
  EXPECT_EQ(parse_combine_format("logfmt10"), CombineFormat::kLogFmt10);
}

template <class Parse>
std::string refusal(Parse parse, const char* text) {
  try {
    parse(text);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
    return error.what();
  }
  return "accepted";
}

TEST(Format, AnUnknownNameIsRefusedInASentenceThatListsWhatThereIs) {
  EXPECT_EQ(refusal(parse_dispatch_format, "FP8"),
            "dispatch format is \"FP8\", but must be bf16, fp8, fp8_pow2 or fp8_ue8m0");
  EXPECT_EQ(refusal(parse_combine_format, "fp8"),
            "combine format is \"fp8\", but must be bf16 or logfmt10");
  EXPECT_EQ(refusal(parse_combine_format, nullptr),
            "combine format is \"\", but must be bf16 or logfmt10");
  EXPECT_EQ(refusal(parse_scale_layout, "diagonal"),
            "scale layout is \"diagonal\", but must be row or column");
}

TEST(RowSizes, AreTheFormatsOwn) {
  using namespace codec;
  EXPECT_EQ(dispatch_data_bytes(DispatchFormat::kBf16, 2048), 4096);
  EXPECT_EQ(dispatch_data_bytes(DispatchFormat::kFp8Pow2, 2048), 2048);
  EXPECT_EQ(dispatch_scale_bytes(DispatchFormat::kBf16, 2048), 0);
  EXPECT_EQ(dispatch_scale_bytes(DispatchFormat::kFp8, 7168), 4 * 56);
  EXPECT_EQ(dispatch_scale_bytes(DispatchFormat::kFp8Ue8m0, 512), 4);
  EXPECT_EQ(dispatch_scale_bytes(DispatchFormat::kFp8Ue8m0, 640), 8);
  EXPECT_EQ(combine_row_max_bytes(CombineFormat::kBf16, 2880), 5760);
  EXPECT_EQ(combine_row_max_bytes(CombineFormat::kLogFmt10, 640), 32 + 5 * 256);
  EXPECT_EQ(hidden_multiple(DispatchFormat::kBf16), 8);
  EXPECT_EQ(hidden_multiple(DispatchFormat::kFp8Ue8m0), 128);
  EXPECT_EQ(hidden_multiple(CombineFormat::kLogFmt10), 128);
  // 64 bits: beyond what an int holds.
  EXPECT_EQ(dispatch_data_bytes(DispatchFormat::kBf16, std::int64_t{1} << 40),
            std::int64_t{1} << 41);
}

}  // namespace
}  // namespace braid
