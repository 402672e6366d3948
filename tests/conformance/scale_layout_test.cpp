// Both layouts of the scales hold the same values, also where a row has several packed words.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>
#include <vector>

#include "codec/row.hpp"
#include "conformance/small_case.hpp"

namespace braid::conformance {
namespace {

using ::testing::HasSubstr;

constexpr int kWide = 640;  // five groups: two packed words, the second one partly used
constexpr int kExpertsHere = 4;
constexpr std::uint32_t kUntouched = 0xA5A5A5A5;

struct WideIo : Io {
  WideIo(const Topology& topology, DispatchFormat format, ScaleLayout layout)
      : Io(topology), capacity(topology.num_ranks * 4) {
    words = codec::dispatch_scale_bytes(format, kWide) / 4;
    tokens.resize(3 * kWide);
    for (std::size_t i = 0; i < tokens.size(); ++i) {
      tokens[i] = static_cast<std::uint16_t>(0x3C00 + i * 37 % 0x600);
    }
    recv.resize(static_cast<std::size_t>(kExpertsHere * capacity * kWide / 2));
    scales.assign(static_cast<std::size_t>(kExpertsHere * capacity * words), kUntouched);
    idx = {0, 5, 1, 0, 5, -1};
    input.x = {tokens.data(), DType::kBFloat16, {3, kWide}};
    input.topk_idx = {idx.data(), DType::kInt32, {3, 2}};
    output.x = {recv.data(), DType::kFloat8E4M3, {kExpertsHere, capacity, kWide}};
    const DType word = format == DispatchFormat::kFp8Ue8m0 ? DType::kInt32 : DType::kFloat32;
    const bool by_column = layout == ScaleLayout::kColumnMajor;
    output.scales = by_column ? Tensor(scales.data(), word, {kExpertsHere, words, capacity})
                              : Tensor(scales.data(), word, {kExpertsHere, capacity, words});
    options.format = format;
    options.scale_layout = layout;
    options.num_rounds = 2;
  }
  std::int64_t capacity;
  std::int64_t words = 0;
  std::vector<std::uint16_t> tokens;
  std::vector<std::uint32_t> scales;
};

BufferOptions wide_options(const Topology& topology) {
  BufferOptions options = small_options(topology);
  options.hidden = kWide;
  return options;
}

TEST(ScaleLayout, ByColumnIsByRowTransposed) {
  const Topology topology{2, 2};
  for (const DispatchFormat format :
       {DispatchFormat::kFp8, DispatchFormat::kFp8Pow2, DispatchFormat::kFp8Ue8m0}) {
    const auto failures = braid::testing::run_ranks(topology, {}, [&](Group& group) {
      Buffer buffer(group, wide_options(topology));
      Stream stream = Stream::cpu();
      WideIo rows(topology, format, ScaleLayout::kRowMajor);
      WideIo columns(topology, format, ScaleLayout::kColumnMajor);
      for (WideIo* io : {&rows, &columns}) {
        buffer.dispatch(io->input, io->output, io->options, stream);
        stream.synchronize();
      }
      EXPECT_EQ(rows.recv, columns.recv);
      EXPECT_EQ(rows.counts, columns.counts);
      std::int64_t written = 0;
      for (std::int64_t expert = 0; expert < kExpertsHere; ++expert) {
        for (std::int64_t row = 0; row < rows.capacity; ++row) {
          for (std::int64_t word = 0; word < rows.words; ++word) {
            const std::int64_t base = expert * rows.capacity * rows.words;
            const auto by_row = static_cast<std::size_t>(base + row * rows.words + word);
            const auto by_column = static_cast<std::size_t>(base + word * rows.capacity + row);
            EXPECT_EQ(columns.scales[by_column], rows.scales[by_row])
                << to_string(format) << ", expert " << expert << ", row " << row;
            const bool valid = row < rows.counts[static_cast<std::size_t>(expert)];
            EXPECT_EQ(columns.scales[by_column] != kUntouched, valid);
            if (valid) ++written;
          }
        }
      }
      EXPECT_EQ(written, rows.words * (group.rank() == 0 ? 6 : 4));
    });
    for (const std::string& failure : failures) EXPECT_EQ(failure, "");
  }
}

TEST(ScaleLayout, TheTensorsShapeHasToMatch) {
  const Topology topology{1, 1};
  const auto failures = braid::testing::run_ranks(topology, {}, [&](Group& group) {
    Buffer buffer(group, wide_options(topology));
    WideIo io(topology, DispatchFormat::kFp8Ue8m0, ScaleLayout::kColumnMajor);
    io.idx.assign(6, 0);
    const auto refused = [&](const WideIo& bad) {
      return error_of([&] { buffer.dispatch_begin(bad.input, bad.output, bad.options); },
                      ErrorCode::kInvalidArgument);
    };
    io.options.scale_layout = ScaleLayout::kRowMajor;
    EXPECT_THAT(refused(io),
                HasSubstr("output scales is i32 [4, 2, 4], but must be i32 [4, 4, 2]"));
    io.options.scale_layout = ScaleLayout::kColumnMajor;
    std::swap(io.output.scales.shape[1], io.output.scales.shape[2]);
    EXPECT_THAT(refused(io),
                HasSubstr("output scales is i32 [4, 4, 2], but must be i32 [4, 2, 4]"));
  });
  EXPECT_EQ(failures[0], "");
}

}  // namespace
}  // namespace braid::conformance
