// What high throughput on GPUs refuses before anything is sent: afterwards the same buffer works,
// and no rank has waited for another.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <stdexcept>
#include <string>
#include <vector>

#include "braid/error.hpp"
#include "braid/high_throughput.hpp"
#include "conformance/memory.hpp"
#include "gpu/cuda_ranks.hpp"
#include "support/ranks.hpp"

namespace braid::conformance {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr int kRanks = 2, kTokens = 4;
constexpr std::int64_t kTimeoutMs = 10000;

HighThroughputOptions options_for(int hidden) {
  HighThroughputOptions options;
  options.num_experts = kRanks;
  options.max_tokens = kTokens;
  options.hidden = hidden;
  options.top_k = 1;
  options.expanded = true;
  return options;
}

std::string refusal(const std::function<void()>& call) {
  try {
    call();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument) << error.what();
    return error.what();
  }
  return "nothing was thrown";
}

// A rank's tensors, each with 16 bytes more than it needs. Every token goes to the other rank.
struct Io {
  Io(Group& group, RankMemory& memory, int its_hidden)
      : hidden(its_hidden),
        idx(memory, std::vector<std::int32_t>(kTokens, 1 - group.rank())),
        x(memory, values(0x3F80)),
        rows(memory, values(0)),
        out(memory, values(0)),
        weights(memory, std::vector<float>(kTokens, 1.0F)),
        row_weights(memory, std::vector<float>(kRanks * kTokens, 0.0F)),
        row_experts(memory, std::vector<std::int32_t>(kRanks * kTokens, 0)) {}

  std::vector<std::uint16_t> values(std::uint16_t value) const {
    return std::vector<std::uint16_t>(static_cast<std::size_t>(kRanks * kTokens * hidden + 8),
                                      value);
  }
  // The same memory, some elements later.
  Tensor view(Mirror<std::uint16_t>& of, std::int64_t num_rows, std::int64_t later = 0) const {
    return {of.data() + later, DType::kBFloat16, {num_rows, hidden}};
  }
  Tensor topk() { return {idx.data(), DType::kInt32, {kTokens, 1}}; }
  Tensor topk_weights() { return {weights.data(), DType::kFloat32, {kTokens, 1}}; }
  Tensor received_weights() { return {row_weights.data(), DType::kFloat32, {kRanks * kTokens, 1}}; }

  int hidden;
  Mirror<std::int32_t> idx;
  Mirror<std::uint16_t> x, rows, out;
  Mirror<float> weights, row_weights;
  Mirror<std::int32_t> row_experts;
};

void on_two_ranks(const std::function<void(Group&)>& part) {
  const Ranks ranks = cuda_ranks(kRanks, Spread::kOneDevice, kTimeoutMs);
  expect_no_failure(testing::run_ranks(ranks.topology, ranks.options, part));
}

// One row a token comes to each rank, and goes home as it is.
void require_pass(HighThroughputBuffer& buffer, const ThroughputHandle& handle, Io& io,
                  Stream& stream) {
  buffer.dispatch(handle, {io.view(io.x, kTokens), {}, {}},
                  {io.view(io.rows, kRanks * kTokens), {}, {}, {}}, {}, stream);
  buffer.combine(handle, {io.view(io.rows, kRanks * kTokens), {}}, {io.view(io.out, kTokens), {}},
                 {}, stream);
  stream.synchronize();
  io.out.download();
  for (std::size_t i = 0; i < static_cast<std::size_t>(kTokens * io.hidden); ++i) {
    if (io.out.host[i] != 0x3F80) throw std::runtime_error("a pass after the refusals is wrong");
  }
}

TEST(CudaThroughputRefused, ARowThatNoBlockHasRoomForBeforeAnythingIsSent) {
  on_two_ranks([](Group& group) {
    RankMemory memory(group);
    Io wide(group, memory, 131072), usual(group, memory, 7168);
    Stream stream = group.make_stream();
    HighThroughputBuffer too_wide(group, options_for(wide.hidden));
    HighThroughputBuffer buffer(group, options_for(usual.hidden));
    const ThroughputHandle handle = too_wide.layout(wide.topk(), {}, stream);
    const auto is_named = AllOf(HasSubstr("rows of 262144 bytes"), HasSubstr("shared memory"),
                                HasSubstr("hidden must be smaller"));
    // One rank alone: had it sent anything, the other would wait for the rest.
    if (group.rank() == 0) {
      EXPECT_THAT(refusal([&] {
                    too_wide.dispatch(handle, {wide.view(wide.x, kTokens), {}, {}},
                                      {wide.view(wide.rows, kRanks * kTokens), {}, {}, {}}, {},
                                      stream);
                  }),
                  is_named);
      EXPECT_THAT(refusal([&] {
                    too_wide.combine(handle, {wide.view(wide.rows, kRanks * kTokens), {}},
                                     {wide.view(wide.out, kTokens), {}}, {}, stream);
                  }),
                  is_named);
    }
    stream.synchronize();
    group.check();
    // The buffer goes on, and so does the group.
    too_wide.layout(wide.topk(), {}, stream);
    require_pass(buffer, buffer.layout(usual.topk(), {}, stream), usual, stream);
    group.barrier();
  });
}

TEST(CudaThroughputRefused, RowsThatBulkCopiesCantMoveBeforeAnythingIsSent) {
  on_two_ranks([](Group& group) {
    RankMemory memory(group);
    Io io(group, memory, 256);
    Stream stream = group.make_stream();
    HighThroughputBuffer buffer(group, options_for(io.hidden));
    const ThroughputHandle handle = buffer.layout(io.topk(), {}, stream);
    const std::int64_t all = kRanks * kTokens;
    const auto dispatched = [&](const Tensor& x, const Tensor& output) {
      return refusal([&] {
        buffer.dispatch(handle, {x, {}, {}}, {output, {}, {}, {}}, {}, stream);
      });
    };
    const auto combined = [&](const Tensor& x, const Tensor& output, const Tensor& bias) {
      return refusal([&] {
        CombineRowsOptions options;
        options.biases[0] = bias;
        buffer.combine(handle, {x, {}}, {output, {}}, options, stream);
      });
    };
    const auto by_expert = [&](const Tensor& x, const Tensor& output) {
      const ExpandedRows rows{
          output, {}, {io.row_experts.data(), DType::kInt32, {all}}, io.received_weights()};
      return refusal([&] {
        buffer.dispatch_expanded(handle, {x, {}, io.topk_weights()}, rows, {}, stream);
      });
    };
    const Tensor x = io.view(io.x, kTokens), rows = io.view(io.rows, all),
                 out = io.view(io.out, kTokens);
    if (group.rank() == 0) {
      for (const std::int64_t later : {1, 4}) {
        const auto says = [](const char* name) {
          return AllOf(HasSubstr(std::string(name) + " is at "), HasSubstr("16 bytes"));
        };
        const Tensor bad_x = io.view(io.x, kTokens, later);
        const Tensor bad_rows = io.view(io.rows, all, later);
        const Tensor bad_out = io.view(io.out, kTokens, later);
        EXPECT_THAT(dispatched(bad_x, rows), says("x"));
        EXPECT_THAT(dispatched(x, bad_rows), says("output x"));
        EXPECT_THAT(by_expert(bad_x, rows), says("x"));
        EXPECT_THAT(by_expert(x, bad_rows), says("output x"));
        EXPECT_THAT(combined(bad_rows, out, {}), says("x"));
        EXPECT_THAT(combined(rows, bad_out, {}), says("output x"));
        EXPECT_THAT(combined(rows, out, bad_x), says("bias"));
        EXPECT_THAT(refusal([&] {
                      buffer.combine_expanded(handle, {bad_rows, io.received_weights()}, {out, {}},
                                              {}, stream);
                    }),
                    says("x"));
      }
    }
    group.check();
    require_pass(buffer, handle, io, stream);
    group.barrier();
  });
}

}  // namespace
}  // namespace braid::conformance
