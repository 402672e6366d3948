// How a token's row looks on the wire and, for dispatch, in the output.
#pragma once

#include <cstdint>

namespace braid {

// Dispatch: groups of 128 channels share a scale; x is about value * scale.
enum class DispatchFormat : std::uint8_t {
  kBf16,      // as given
  kFp8,       // e4m3, one float32 scale a group: amax / 448
  kFp8Pow2,   // e4m3, one float32 scale a group, rounded up to a power of two
  kFp8Ue8m0,  // e4m3, that power of two as its biased exponent: one byte, four to an int32
};

// Combine: rows of the experts' outputs on their way home.
enum class CombineFormat : std::uint8_t {
  kBf16,
  kLogFmt10,  // logarithmic, 10 bits a value where a group of 128 channels allows it, else BF16
};

// How the scales of an expert's rows stand in dispatch's output; a word is a float32, or an int32
// of four UE8M0 scales.
enum class ScaleLayout : std::uint8_t {
  kRowMajor,     // [Le, rows, words]: a row's words are neighbors
  kColumnMajor,  // [Le, words, rows]: a word of all rows together, as DeepEP's GEMMs take them
};

inline constexpr int kScaleGroup = 128;  // channels that share one scale, in every format
inline constexpr int kNumDispatchFormats = 4;
inline constexpr int kNumCombineFormats = 2;

// "bf16", "fp8", "fp8_pow2", "fp8_ue8m0"; "bf16", "logfmt10".
const char* to_string(DispatchFormat format) noexcept;
const char* to_string(CombineFormat format) noexcept;
const char* to_string(ScaleLayout layout) noexcept;  // "row", "column"

// The reverse; throws kInvalidArgument for any other text, listing what there is.
DispatchFormat parse_dispatch_format(const char* text);
CombineFormat parse_combine_format(const char* text);
ScaleLayout parse_scale_layout(const char* text);

}  // namespace braid
