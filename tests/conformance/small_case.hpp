// The smallest operation there is, for tests of what a buffer refuses and how it fails.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <vector>

#include "braid/buffer.hpp"
#include "braid/error.hpp"
#include "support/ranks.hpp"

namespace braid::conformance {

inline BufferOptions small_options(const Topology& topology) {
  BufferOptions options;
  options.num_experts = 4 * topology.num_ranks;
  options.max_tokens = 4;
  options.hidden = 128;
  options.top_k = 2;
  options.max_rounds = 2;
  return options;
}

// A rank's tensors for one token that names experts 0 and 1.
struct Io {
  explicit Io(const Topology& topology)
      : x(128, 0x3F80),
        idx{0, 1},
        weights{0.5F, 0.25F},
        recv(static_cast<std::size_t>(4 * topology.num_ranks * 4 * 128)),
        counts(4),
        out(128) {
    const std::int64_t capacity = topology.num_ranks * 4;
    input.x = {x.data(), DType::kBFloat16, {1, 128}};
    input.topk_idx = {idx.data(), DType::kInt32, {1, 2}};
    output.x = {recv.data(), DType::kBFloat16, {4, capacity, 128}};
    output.counts = {counts.data(), DType::kInt32, {4}};
    options.format = DispatchFormat::kBf16;
    combine_input.x = output.x;
    combine_input.topk_weights = {weights.data(), DType::kFloat32, {1, 2}};
    combine_output.x = {out.data(), DType::kBFloat16, {1, 128}};
  }
  std::vector<std::uint16_t> x;
  std::vector<std::int32_t> idx;
  std::vector<float> weights;
  std::vector<std::uint16_t> recv;
  std::vector<std::int32_t> counts;
  std::vector<std::uint16_t> out;
  DispatchInput input;
  DispatchOutput output;
  DispatchOptions options;
  CombineInput combine_input;
  CombineOutput combine_output;
  CombineOptions combine_options;
};

inline void on_one_rank(const std::function<void(Buffer&, Io&, Stream&)>& function) {
  const Topology topology{1, 1};
  const auto failures = braid::testing::run_ranks(topology, {}, [&](Group& group) {
    Buffer buffer(group, small_options(topology));
    Io io(topology);
    Stream stream = Stream::cpu();
    function(buffer, io, stream);
  });
  EXPECT_EQ(failures[0], "");
}

inline std::string error_of(const std::function<void()>& function, ErrorCode code) {
  try {
    function();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), code) << error.what();
    return error.what();
  }
  return "nothing was thrown";
}

}  // namespace braid::conformance
