// What high throughput refuses by name, and how its operations fail.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <vector>

#include "braid/error.hpp"
#include "braid/high_throughput.hpp"
#include "support/ranks.hpp"

namespace braid::conformance {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr int kTokens = 4, kChannels = 128, kChoices = 2;

HighThroughputOptions options_for(int num_ranks) {
  HighThroughputOptions options;
  options.num_experts = 2 * num_ranks;
  options.max_tokens = kTokens;
  options.hidden = kChannels;
  options.top_k = kChoices;
  return options;
}

// One rank's tensors for three tokens.
struct Io {
  explicit Io(int num_ranks)
      : rows(num_ranks * kTokens),
        x(3 * kChannels, 0x3F80),
        idx{0, 1, 1, -1, 0, 0},
        weights(6, 0.5F),
        recv(static_cast<std::size_t>(rows * kChannels)),
        scales(static_cast<std::size_t>(rows)),
        recv_idx(static_cast<std::size_t>(rows * kChoices)),
        recv_weights(static_cast<std::size_t>(rows * kChoices)),
        out(3 * kChannels) {
    topk_idx = {idx.data(), DType::kInt32, {3, kChoices}};
    input.x = {x.data(), DType::kBFloat16, {3, kChannels}};
    output.x = {recv.data(), DType::kBFloat16, {rows, kChannels}};
    combine_input.x = output.x;
    combine_output.x = {out.data(), DType::kBFloat16, {3, kChannels}};
  }
  std::int64_t rows;
  std::vector<std::uint16_t> x;
  std::vector<std::int32_t> idx;
  std::vector<float> weights;
  std::vector<std::uint16_t> recv;
  std::vector<float> scales;
  std::vector<std::int32_t> recv_idx;
  std::vector<float> recv_weights;
  std::vector<std::uint16_t> out;
  Tensor topk_idx;
  DispatchRows input;
  DispatchedRows output;
  CombineRows combine_input;
  CombinedRows combine_output;
};

std::string error_of(const std::function<void()>& function,
                     ErrorCode code = ErrorCode::kInvalidArgument) {
  try {
    function();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), code) << error.what();
    return error.what();
  }
  return "nothing was thrown";
}

void on_one_rank(const std::function<void(HighThroughputBuffer&, Io&, Stream&)>& function) {
  const auto failures = testing::run_ranks({1, 1}, {}, [&](Group& group) {
    HighThroughputBuffer buffer(group, options_for(1));
    Io io(1);
    Stream stream = Stream::cpu();
    function(buffer, io, stream);
    stream.synchronize();
  });
  EXPECT_EQ(failures[0], "");
}

TEST(ThroughputOptions, AreRefusedByName) {
  const auto refused = [](const std::function<void(HighThroughputOptions&)>& change,
                          const Topology& topology = {2, 2}) {
    HighThroughputOptions options = options_for(2);
    change(options);
    return error_of([&] { HighThroughputBuffer::plan(topology, options); });
  };
  EXPECT_THAT(
      refused([](auto&) {}, {2, 1}),
      HasSubstr("has 2 nodes of 1 ranks, but high throughput is for the ranks of one node"));
  EXPECT_THAT(refused([](auto& o) { o.num_experts = 3; }), HasSubstr("not divisible by 2 ranks"));
  EXPECT_THAT(refused([](auto& o) { o.max_tokens = 0; }), HasSubstr("max_tokens is 0"));
  EXPECT_THAT(refused([](auto& o) { o.hidden = 12; }), HasSubstr("hidden is 12"));
  EXPECT_THAT(refused([](auto& o) { o.top_k = 33; }), HasSubstr("top_k is 33"));
  EXPECT_THAT(refused([](auto& o) { o.depth = 0; }), HasSubstr("depth is 0"));
  EXPECT_THAT(refused([](auto& o) { o.handle_slots = 0; }), HasSubstr("handle_slots is 0"));
  EXPECT_THAT(refused([](auto& o) { o.workers = -1; }), HasSubstr("workers is -1"));
  EXPECT_THAT(refused([](auto& o) { o.widest_dispatch = DispatchFormat::kFp8Ue8m0; }),
              HasSubstr("widest_dispatch is fp8_ue8m0"));
}

TEST(ThroughputOptions, ThatDifferBetweenRanksAreNamed) {
  const auto failures = testing::run_ranks({2, 2}, {}, [](Group& group) {
    HighThroughputOptions options = options_for(2);
    options.max_tokens += group.rank();
    HighThroughputBuffer buffer(group, options);
  });
  for (const auto& failure : failures) EXPECT_THAT(failure, HasSubstr("option max_tokens is"));
}

TEST(ThroughputPlan, IsWhatTheRegionsTake) {
  const MemoryPlan plan = HighThroughputBuffer::plan({2, 2}, options_for(2));
  std::uint64_t end = 0;
  for (const MemoryRegion& region : plan.symmetric) {
    EXPECT_GE(region.offset, end) << region.name;
    EXPECT_FALSE(region.purpose.empty());
    end = region.offset + region.bytes;
  }
  EXPECT_LE(end, plan.symmetric_bytes);
  EXPECT_LT(plan.symmetric_bytes - end, 4096U);
  EXPECT_EQ(plan.local.back().offset + plan.local.back().bytes, plan.local_bytes);
  HighThroughputOptions narrow = options_for(2);
  narrow.widest_dispatch = DispatchFormat::kFp8;
  narrow.max_tokens = 400;
  HighThroughputOptions wide = narrow;
  wide.widest_dispatch = DispatchFormat::kBf16;
  EXPECT_LT(HighThroughputBuffer::plan({2, 2}, narrow).symmetric_bytes,
            HighThroughputBuffer::plan({2, 2}, wide).symmetric_bytes);
}

TEST(ThroughputLayout, RefusesBadRoutings) {
  on_one_rank([](HighThroughputBuffer& buffer, Io& io, Stream& stream) {
    const auto refused = [&](const Tensor& idx, const LayoutOptions& options = {}) {
      return error_of([&] { buffer.layout(idx, options, stream); });
    };
    EXPECT_THAT(refused({}), HasSubstr("topk_idx is not given"));
    EXPECT_THAT(refused({io.idx.data(), DType::kFloat32, {3, 2}}), HasSubstr("topk_idx is f32"));
    EXPECT_THAT(refused({io.idx.data(), DType::kInt32, {2, 3}}),
                HasSubstr("topk_idx names 3 experts a token"));
    EXPECT_THAT(refused({io.idx.data(), DType::kInt32, {6, 1}}), HasSubstr("6 tokens are given"));
    EXPECT_THAT(refused(io.topk_idx, {0, 0}), HasSubstr("expert_alignment is 0"));
    EXPECT_THAT(refused(io.topk_idx, {1, -1}), HasSubstr("layout workers is -1"));
    io.idx[3] = 2;
    EXPECT_THAT(refused(io.topk_idx), HasSubstr("topk_idx of token 1, choice 1 is 2"));
    EXPECT_THAT(error_of([&] { buffer.layout(io.topk_idx, {}, *std::make_unique<Stream>()); }),
                HasSubstr("the stream is empty"));
  });
}

TEST(ThroughputHandles, AreHeldAgainstTheirBufferAndCounted) {
  on_one_rank([](HighThroughputBuffer& buffer, Io& io, Stream& stream) {
    EXPECT_THAT(error_of([&] { buffer.received({}); }), HasSubstr("the handle is empty"));
    HighThroughputBuffer other(buffer.group(), options_for(1));
    const ThroughputHandle foreign = other.layout(io.topk_idx, {}, stream);
    EXPECT_THAT(error_of([&] { buffer.dispatch(foreign, io.input, io.output, {}, stream); }),
                HasSubstr("layout #1 is of another buffer"));
    EXPECT_THAT(
        error_of([&] { buffer.combine(foreign, io.combine_input, io.combine_output, {}, stream); }),
        HasSubstr("is of another buffer"));
    std::vector<ThroughputHandle> handles;
    for (int i = 0; i < 4; ++i) handles.push_back(buffer.layout(io.topk_idx, {}, stream));
    EXPECT_THAT(error_of([&] { buffer.layout(io.topk_idx, {}, stream); }, ErrorCode::kRefused),
                HasSubstr("all 4 handle slots are taken"));
    handles.pop_back();
    EXPECT_NO_THROW(buffer.layout(io.topk_idx, {}, stream));
  });
}

TEST(ThroughputDispatch, RefusesWhatDoesNotFitTheHandle) {
  on_one_rank([](HighThroughputBuffer& buffer, Io& io, Stream& stream) {
    const ThroughputHandle handle = buffer.layout(io.topk_idx, {}, stream);
    const auto refused = [&](const std::function<void(Io&, DispatchRowsOptions&)>& change) {
      Io changed(1);
      DispatchRowsOptions options;
      change(changed, options);
      return error_of(
          [&] { buffer.dispatch(handle, changed.input, changed.output, options, stream); });
    };
    const auto x_of = [](Io& io_, std::int64_t n, std::int64_t h) {
      io_.input.x = {io_.x.data(), DType::kBFloat16, {n, h}};
    };
    EXPECT_THAT(refused([&](Io& c, auto&) { x_of(c, 2, kChannels); }),
                HasSubstr("x is bf16 [2, 128], but must be bf16 [3, 128]"));
    EXPECT_THAT(refused([&](Io& c, auto&) { x_of(c, 3, 64); }), HasSubstr("x is bf16 [3, 64]"));
    EXPECT_THAT(refused([](Io& c, auto&) { c.input.x.dtype = DType::kFloat32; }),
                HasSubstr("x is f32"));
    EXPECT_THAT(refused([](Io& c, auto&) { c.input.x.dtype = DType::kFloat8E4M3; }),
                HasSubstr("x is f8_e4m3 [3, 128], but must be bf16"));
    EXPECT_THAT(refused([](Io& c, auto& o) {
                  o.format = DispatchFormat::kFp8;
                  c.input.x.dtype = DType::kFloat8E4M3;
                }),
                HasSubstr("scales is not given"));
    EXPECT_THAT(refused([](Io& c, auto&) {
                  c.input.scales = {c.scales.data(), DType::kFloat32, {3, 1}};
                }),
                HasSubstr("scales is f32 [3, 1], but x is bf16"));
    EXPECT_THAT(refused([](Io&, auto& o) { o.format = DispatchFormat::kFp8Pow2; }),
                HasSubstr("dispatch format is fp8_pow2"));
    EXPECT_THAT(refused([](Io&, auto& o) { o.workers = -2; }), HasSubstr("dispatch workers is -2"));
    EXPECT_THAT(refused([](Io& c, auto&) {
                  c.input.topk_weights = {c.weights.data(), DType::kFloat32, {3, 2}};
                }),
                HasSubstr("output topk_weights is not given"));
    EXPECT_THAT(refused([](Io& c, auto&) {
                  c.input.topk_weights = {c.weights.data(), DType::kFloat32, {2, 2}};
                }),
                HasSubstr("topk_weights is f32 [2, 2], but must be f32 [3, 2]"));
    EXPECT_THAT(refused([](Io& c, auto&) {
                  c.output.x = {c.recv.data(), DType::kBFloat16, {3, kChannels}};
                }),
                AllOf(HasSubstr("output x has 3 rows, but layout #1 needs 4"),
                      HasSubstr("received() was not called")));
    EXPECT_THAT(refused([](Io& c, auto&) {
                  c.output.topk_idx = {c.recv_idx.data(), DType::kFloat32, {4, 2}};
                }),
                HasSubstr("output topk_idx is f32"));
    EXPECT_THAT(refused([](Io& c, auto&) {
                  c.output.scales = {c.scales.data(), DType::kFloat32, {4, 1}};
                }),
                HasSubstr("output scales is f32 [4, 1], but format bf16 has none"));
    // Three tokens name the rank: exact outputs have three rows.
    EXPECT_EQ(buffer.received(handle).num_rows, 3);
    EXPECT_THAT(refused([](Io& c, auto&) {
                  c.output.x = {c.recv.data(), DType::kBFloat16, {2, kChannels}};
                }),
                HasSubstr("output x has 2 rows, but layout #1 needs 3"));
    EXPECT_THAT(refused([](Io& c, auto&) {
                  c.output.x = {c.recv.data(), DType::kBFloat16, {3, kChannels}};
                  c.output.topk_idx = {c.recv_idx.data(), DType::kInt32, {4, 2}};
                }),
                HasSubstr("output topk_idx is i32 [4, 2], but must be i32 or i64 [3, 2]"));
    EXPECT_THAT(
        error_of([&] { buffer.dispatch_in_place(handle, io.input, io.output, {}, stream); }),
        HasSubstr("rows in place have no other output"));
  });
}

TEST(ThroughputDispatch, IsRefusedWiderThanTheBuffer) {
  const auto failures = testing::run_ranks({1, 1}, {}, [](Group& group) {
    HighThroughputOptions options = options_for(1);
    options.widest_dispatch = DispatchFormat::kFp8;
    HighThroughputBuffer buffer(group, options);
    Io io(1);
    Stream stream = Stream::cpu();
    const ThroughputHandle handle = buffer.layout(io.topk_idx, {}, stream);
    EXPECT_THAT(error_of([&] { buffer.dispatch(handle, io.input, io.output, {}, stream); }),
                HasSubstr("dispatch format bf16 needs rows of 256 bytes, but the buffer was made "
                          "for fp8 (128 bytes)"));
  });
  EXPECT_EQ(failures[0], "");
}

TEST(ThroughputCombine, RefusesWhatDoesNotFitTheHandle) {
  on_one_rank([](HighThroughputBuffer& buffer, Io& io, Stream& stream) {
    const ThroughputHandle handle = buffer.layout(io.topk_idx, {}, stream);
    const DispatchedRows rows = buffer.dispatch_in_place(handle, io.input, {}, {}, stream);
    const auto refused = [&](const std::function<void(Io&, CombineRowsOptions&)>& change) {
      Io changed(1);
      CombineRowsOptions options;
      change(changed, options);
      return error_of([&] {
        buffer.combine(handle, changed.combine_input, changed.combine_output, options, stream);
      });
    };
    EXPECT_THAT(refused([&](Io& c, auto&) { c.combine_input.x = rows.x; }),
                HasSubstr("x is in the buffer's communication memory"));
    EXPECT_THAT(refused([](Io& c, auto&) { c.combine_input.x.shape[0] = 3; }),
                HasSubstr("x has 3 rows, but layout #1 needs 4"));
    EXPECT_THAT(refused([](Io& c, auto&) { c.combine_input.x.dtype = DType::kFloat32; }),
                HasSubstr("x is f32"));
    EXPECT_THAT(refused([](Io& c, auto&) { c.combine_output.x.shape[0] = 2; }),
                HasSubstr("output x is bf16 [2, 128]"));
    EXPECT_THAT(refused([](Io& c, auto& o) {
                  o.biases[1] = {c.x.data(), DType::kBFloat16, {2, kChannels}};
                }),
                HasSubstr("bias is bf16 [2, 128], but must be bf16 [3, 128]"));
    EXPECT_THAT(refused([](Io& c, auto&) {
                  c.combine_input.topk_weights = {c.recv_weights.data(), DType::kFloat32, {4, 2}};
                }),
                HasSubstr("both are given, or neither"));
    EXPECT_THAT(refused([](Io&, auto& o) { o.workers = -1; }), HasSubstr("combine workers is -1"));
  });
}

TEST(ThroughputExpanded, IsRefusedWhereItDoesNotFit) {
  on_one_rank([](HighThroughputBuffer& buffer, Io& io, Stream& stream) {
    const ThroughputHandle handle = buffer.layout(io.topk_idx, {}, stream);
    EXPECT_THAT(error_of([&] { buffer.dispatch_expanded(handle, io.input, {}, {}, stream); }),
                HasSubstr("the buffer was made without expanded"));
    EXPECT_THAT(error_of([&] { buffer.combine_expanded(handle, {}, {}, {}, stream); }),
                HasSubstr("the buffer was made without expanded"));
  });
  const auto failures = testing::run_ranks({1, 1}, {}, [](Group& group) {
    HighThroughputOptions options = options_for(1);
    options.expanded = true;
    HighThroughputBuffer buffer(group, options);
    Io io(1);
    Stream stream = Stream::cpu();
    EXPECT_THAT(error_of([&] {
                  buffer.layout(io.topk_idx, {1 << 30, 0}, stream);
                }),
                HasSubstr("expert_alignment is 1073741824"));
    const ThroughputHandle handle = buffer.layout(io.topk_idx, {16, 0}, stream);
    std::vector<std::uint16_t> rows(64 * kChannels);
    std::vector<std::int32_t> experts(64);
    const auto sized = [&](std::int64_t count) {
      return ExpandedRows{{rows.data(), DType::kBFloat16, {count, kChannels}},
                          {},
                          {experts.data(), DType::kInt32, {count}},
                          {}};
    };
    const auto refused = [&](const ExpandedRows& output) {
      return error_of([&] { buffer.dispatch_expanded(handle, io.input, output, {}, stream); });
    };
    // 4 rows of 2 choices, and 15 of padding for each of 2 experts.
    EXPECT_THAT(refused(sized(37)), HasSubstr("output x has 37 rows, but layout #1 needs 38"));
    ExpandedRows without = sized(38);
    without.row_experts = {};
    EXPECT_THAT(refused(without), HasSubstr("output row_experts is not given"));
    // Two tokens name each expert.
    EXPECT_EQ(buffer.received(handle).rows_per_expert, (std::vector<std::int64_t>{16, 16}));
    EXPECT_THAT(refused(sized(31)), HasSubstr("output x has 31 rows, but layout #1 needs 32"));
    buffer.dispatch_expanded(handle, io.input, sized(32), {}, stream);
    EXPECT_THAT(error_of([&] {
                  buffer.combine_expanded(handle, {sized(32).x, {}}, io.combine_output, {}, stream);
                }),
                HasSubstr("topk_weights is not given"));
    stream.synchronize();
  });
  EXPECT_EQ(failures[0], "");
}

TEST(ThroughputFails, ARankThatDoesNotComeIsNamedOnEveryOther) {
  GroupOptions options;
  options.timeout_ms = 300;
  const auto failures = testing::run_ranks({3, 3}, options, [](Group& group) {
    HighThroughputBuffer buffer(group, options_for(3));
    if (group.rank() == 2) return;  // never lays out
    Io io(3);
    Stream stream = Stream::cpu();
    const ThroughputHandle handle = buffer.layout(io.topk_idx, {}, stream);
    try {
      buffer.received(handle);
    } catch (const Error& error) {
      EXPECT_TRUE(error.code() == ErrorCode::kTimeout || error.code() == ErrorCode::kPeerFailed);
      EXPECT_THROW(group.check(), Error);
      EXPECT_THROW(buffer.layout(io.topk_idx, {}, stream), Error);
      throw;
    }
  });
  for (const std::size_t rank : {0U, 1U}) {
    EXPECT_THAT(failures[rank],
                AllOf(HasSubstr("rank 2 did not answer"), HasSubstr("in layout, round 0")));
  }
  EXPECT_EQ(failures[2], "");
}

TEST(ThroughputFails, ARankThatStopsBeforeCombineIsNamed) {
  GroupOptions options;
  options.timeout_ms = 300;
  const auto failures = testing::run_ranks({2, 2}, options, [](Group& group) {
    HighThroughputBuffer buffer(group, options_for(2));
    Io io(2);
    // Every token goes to both ranks.
    io.idx = {0, 2, 1, 3, 2, 0};
    Stream stream = Stream::cpu();
    const ThroughputHandle handle = buffer.layout(io.topk_idx, {}, stream);
    buffer.dispatch(handle, io.input, io.output, {}, stream);
    stream.synchronize();
    if (group.rank() == 1) return;
    buffer.combine(handle, io.combine_input, io.combine_output, {}, stream);
    stream.synchronize();
  });
  EXPECT_THAT(failures[0], AllOf(HasSubstr("rank 1 did not answer"), HasSubstr("in combine")));
  EXPECT_EQ(failures[1], "");
}

TEST(ThroughputFails, AStreamThatFailedBeforeTheLayoutEndsTheWait) {
  on_one_rank([](HighThroughputBuffer& buffer, Io& io, Stream&) {
    Stream broken = Stream::cpu();
    broken.run([] { throw Error(ErrorCode::kFormat, "the caller's own"); });
    const ThroughputHandle handle = buffer.layout(io.topk_idx, {}, broken);
    EXPECT_EQ(error_of([&] { buffer.received(handle); }, ErrorCode::kFormat), "the caller's own");
  });
}

}  // namespace
}  // namespace braid::conformance
