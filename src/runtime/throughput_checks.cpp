#include "runtime/throughput_checks.hpp"

#include <limits>
#include <vector>

#include "base/check.hpp"
#include "codec/row.hpp"
#include "runtime/tensor_checks.hpp"

namespace braid::runtime {
namespace {

using detail::ThroughputHandleState;
using detail::ThroughputState;

void check_format(DispatchFormat format, const layout::ThroughputShape& shape) {
  require(format == DispatchFormat::kBf16 || format == DispatchFormat::kFp8,
          "dispatch format is {}, but high throughput offers {} and {}", to_string(format),
          to_string(DispatchFormat::kBf16), to_string(DispatchFormat::kFp8));
  require(shape.hidden % codec::hidden_multiple(format) == 0,
          "hidden is {}, but dispatch format {} needs a multiple of {}", shape.hidden,
          to_string(format), codec::hidden_multiple(format));
  const std::int64_t bytes = codec::dispatch_data_bytes(format, shape.hidden);
  require(bytes <= shape.row_bytes(),
          "dispatch format {} needs rows of {} bytes, but the buffer was made for {} ({} bytes)",
          to_string(format), bytes, to_string(shape.widest_dispatch), shape.row_bytes());
}

// Rows that stand in a layout's order: as many as it needs, or more. Their number.
std::int64_t check_rows(const char* name, const Tensor& tensor, const ThroughputHandleState& handle,
                        std::int64_t needed) {
  require(tensor.rank > 0, "{} is {}, but must have {} rows or more", name, text_of(tensor),
          needed);
  require(tensor.dim(0) >= needed, "{} has {} rows, but {} needs {}", name, tensor.dim(0),
          handle.name,
          handle.received ? std::to_string(needed)
                          : std::to_string(needed) +
                                ", since received() was not called and the host does not know "
                                "its rows");
  return tensor.dim(0);
}

// An optional output, of as many rows as the others.
struct RowCount {
  const ThroughputHandleState& handle;
  std::int64_t needed = 0;
  std::int64_t rows = -1;  // not known yet

  void take(const char* name, const Tensor& tensor, std::initializer_list<DType> dtypes,
            std::int64_t width) {
    const std::int64_t given = check_rows(name, tensor, handle, needed);
    if (rows < 0) rows = given;
    check_tensor(name, tensor, dtypes, {rows, width});
  }
};

void check_weights_alike(const Tensor& input, const Tensor& output) {
  require(input.empty() == output.empty(),
          "topk_weights is {}, and output topk_weights is {}: both are given, or neither",
          text_of(input), text_of(output));
}

void check_dispatched_x(const ThroughputHandleState& handle, const DispatchRows& input,
                        const DispatchRowsOptions& options) {
  const layout::ThroughputShape& shape = handle.buffer->map.shape;
  const bool encoded = options.format == DispatchFormat::kFp8 &&
                       input.x.dtype == DType::kFloat8E4M3 && !input.x.empty();
  check_tensor("x", input.x, {encoded ? DType::kFloat8E4M3 : DType::kBFloat16},
               {handle.num_tokens, shape.hidden});
  require(encoded || input.scales.empty(), "scales is {}, but x is {} and has none",
          text_of(input.scales), text_of(input.x));
  if (encoded) {
    check_tensor("scales", input.scales, {DType::kFloat32},
                 {handle.num_tokens, shape.hidden / kScaleGroup});
  }
}

// Whether a combine's x is in the block that peers write into: the next operation's rows would
// come over it while it is read.
void check_outside(const Tensor& x, const ThroughputState& buffer) {
  const auto* begin = buffer.engine->symmetric();
  const auto* data = x.as<const std::byte>();
  require(data + x.num_bytes() <= begin || data >= begin + buffer.map.total_bytes,
          "x is in the buffer's communication memory, at {}, but must be elsewhere: the rows of a "
          "dispatch in place are good until the next operation begins",
          x.data);
}

// What is the same for outputs in either form.
protocol::RowsDispatchArgs checked_input(const ThroughputHandleState& handle,
                                         const DispatchRows& input,
                                         const DispatchRowsOptions& options) {
  const ThroughputState& buffer = *handle.buffer;
  check_workers("dispatch", options.workers, buffer.engine->budget());
  check_format(options.format, buffer.map.shape);
  check_dispatched_x(handle, input, options);
  if (!input.topk_weights.empty()) {
    check_tensor("topk_weights", input.topk_weights, {DType::kFloat32},
                 {handle.num_tokens, handle.k});
  }
  check_reach(buffer.group,
              {{"x", &input.x}, {"scales", &input.scales}, {"topk_weights", &input.topk_weights}});
  check_aligned(buffer.group.backend_kind(), {{"x", &input.x}});
  protocol::RowsDispatchArgs args;
  args.op = buffer.args_of(handle.slot);
  args.num_tokens = handle.num_tokens;
  args.k = handle.k;
  args.format = options.format;
  args.x = input.x.as<const std::byte>();
  args.scales = input.scales.as<const float>();
  args.weights = input.topk_weights.as<const float>();
  args.fill_tail = options.fill_tail;
  return args;
}

void check_expanded(const ThroughputState& buffer) {
  require(buffer.map.shape.expanded,
          "the buffer was made without expanded, which the expanded form needs");
}

// A combine's output and biases.
protocol::RowsCombineArgs checked_home(const ThroughputHandleState& handle,
                                       const CombinedRows& output,
                                       const CombineRowsOptions& options) {
  const ThroughputState& buffer = *handle.buffer;
  const std::int64_t hidden = buffer.map.shape.hidden;
  check_workers("combine", options.workers, buffer.engine->budget());
  check_tensor("output x", output.x, {DType::kBFloat16}, {handle.num_tokens, hidden});
  protocol::RowsCombineArgs args;
  for (const Tensor& bias : options.biases) {
    if (bias.empty()) continue;
    check_tensor("bias", bias, {DType::kBFloat16}, {handle.num_tokens, hidden});
    args.biases[args.num_biases++] = bias.as<const std::uint16_t>();
  }
  check_reach(
      buffer.group,
      {{"bias", &options.biases[0]}, {"bias", &options.biases[1]}, {"output x", &output.x}});
  check_aligned(
      buffer.group.backend_kind(),
      {{"bias", &options.biases[0]}, {"bias", &options.biases[1]}, {"output x", &output.x}});
  args.op = buffer.args_of(handle.slot);
  args.num_tokens = handle.num_tokens;
  args.k = handle.k;
  args.out = output.x.as<std::uint16_t>();
  return args;
}

}  // namespace

protocol::LayoutArgs checked_layout(const ThroughputState& buffer, const Tensor& topk_idx,
                                    const LayoutOptions& options) {
  const layout::ThroughputShape& shape = buffer.map.shape;
  check_workers("layout", options.workers, buffer.engine->budget());
  require(options.expert_alignment >= 1, "expert_alignment is {}, but must be at least 1",
          options.expert_alignment);
  constexpr std::int64_t kMostPlaces = std::numeric_limits<std::int32_t>::max();
  require(!shape.expanded || shape.expanded_capacity(options.expert_alignment) <= kMostPlaces,
          "expert_alignment is {}, but the expanded form would have {} rows, more than 31 bits "
          "count",
          options.expert_alignment, shape.expanded_capacity(options.expert_alignment));
  protocol::LayoutArgs args;
  args.experts = {shape.num_experts, shape.num_ranks, 1};
  args.expert_alignment = options.expert_alignment;
  args.topk = checked_topk(topk_idx, {shape.num_experts, shape.top_k}, buffer.group.backend_kind());
  check_token_count(topk_idx.dim(0), shape.max_tokens);
  check_reach(buffer.group, {{"topk_idx", &topk_idx}});
  return args;
}

protocol::RowsDispatchArgs checked_dispatch(const ThroughputHandleState& handle,
                                            const DispatchCall& call) {
  const auto& [input, output, options, rows_to] = call;
  const ThroughputState& buffer = *handle.buffer;
  const layout::ThroughputShape& shape = buffer.map.shape;
  protocol::RowsDispatchArgs args = checked_input(handle, input, options);
  check_weights_alike(input.topk_weights, output.topk_weights);

  RowCount count{handle, handle.rows_needed()};
  const bool is_fp8 = options.format == DispatchFormat::kFp8;
  if (rows_to == RowsTo::kInPlace) {
    require(output.x.empty() && output.scales.empty(),
            "output x is {} and output scales {}, but rows in place have no other output",
            text_of(output.x), text_of(output.scales));
  } else {
    count.take("output x", output.x, {is_fp8 ? DType::kFloat8E4M3 : DType::kBFloat16},
               shape.hidden);
    require(is_fp8 || output.scales.empty(), "output scales is {}, but format {} has none",
            text_of(output.scales), to_string(options.format));
    if (is_fp8) {
      count.take("output scales", output.scales, {DType::kFloat32}, shape.hidden / kScaleGroup);
    }
  }
  if (!output.topk_idx.empty()) {
    count.take("output topk_idx", output.topk_idx, {DType::kInt32, DType::kInt64}, handle.k);
  }
  if (!output.topk_weights.empty()) {
    count.take("output topk_weights", output.topk_weights, {DType::kFloat32}, handle.k);
  }
  check_reach(buffer.group, {{"output x", &output.x},
                             {"output scales", &output.scales},
                             {"output topk_idx", &output.topk_idx},
                             {"output topk_weights", &output.topk_weights}});
  check_aligned(buffer.group.backend_kind(), {{"output x", &output.x}});
  args.in_region = rows_to == RowsTo::kInPlace;
  args.out_x = output.x.as<std::byte>();
  args.out_scales = output.scales.as<std::byte>();
  args.out_topk_idx = output.topk_idx.data;
  args.is_int64 = output.topk_idx.dtype == DType::kInt64;
  args.out_weights = output.topk_weights.as<float>();
  args.num_rows = count.rows;
  return args;
}

protocol::RowsDispatchArgs checked_dispatch(const ThroughputHandleState& handle,
                                            const DispatchRows& input, const ExpandedRows& output,
                                            const DispatchRowsOptions& options) {
  const ThroughputState& buffer = *handle.buffer;
  const layout::ThroughputShape& shape = buffer.map.shape;
  check_expanded(buffer);
  protocol::RowsDispatchArgs args = checked_input(handle, input, options);
  check_weights_alike(input.topk_weights, output.topk_weights);
  RowCount count{handle, handle.expanded_rows_needed()};
  const bool is_fp8 = options.format == DispatchFormat::kFp8;
  count.take("output x", output.x, {is_fp8 ? DType::kFloat8E4M3 : DType::kBFloat16}, shape.hidden);
  require(is_fp8 || output.scales.empty(), "output scales is {}, but format {} has none",
          text_of(output.scales), to_string(options.format));
  if (is_fp8) {
    count.take("output scales", output.scales, {DType::kFloat32}, shape.hidden / kScaleGroup);
  }
  require(count.rows <= std::numeric_limits<std::int32_t>::max(),
          "output x has {} rows, more than 31 bits count", count.rows);
  check_tensor("output row_experts", output.row_experts, {DType::kInt32}, {count.rows});
  if (!output.topk_weights.empty()) {
    RowCount rows{handle, handle.rows_needed()};
    rows.take("output topk_weights", output.topk_weights, {DType::kFloat32}, handle.k);
  }
  check_reach(buffer.group, {{"output x", &output.x},
                             {"output scales", &output.scales},
                             {"output row_experts", &output.row_experts},
                             {"output topk_weights", &output.topk_weights}});
  check_aligned(buffer.group.backend_kind(), {{"output x", &output.x}});
  args.expanded = true;
  args.out_x = output.x.as<std::byte>();
  args.out_scales = output.scales.as<std::byte>();
  args.out_experts = output.row_experts.as<std::int32_t>();
  args.out_weights = output.topk_weights.as<float>();
  args.num_rows = count.rows;
  return args;
}

protocol::RowsCombineArgs checked_combine(const ThroughputHandleState& handle,
                                          const CombineRows& input, const CombinedRows& output,
                                          const CombineRowsOptions& options) {
  const ThroughputState& buffer = *handle.buffer;
  RowCount count{handle, handle.rows_needed()};
  count.take("x", input.x, {DType::kBFloat16}, buffer.map.shape.hidden);
  check_outside(input.x, buffer);
  check_weights_alike(input.topk_weights, output.topk_weights);
  if (!input.topk_weights.empty()) {
    count.take("topk_weights", input.topk_weights, {DType::kFloat32}, handle.k);
    check_tensor("output topk_weights", output.topk_weights, {DType::kFloat32},
                 {handle.num_tokens, handle.k});
  }
  protocol::RowsCombineArgs args = checked_home(handle, output, options);
  check_reach(buffer.group, {{"x", &input.x},
                             {"topk_weights", &input.topk_weights},
                             {"output topk_weights", &output.topk_weights}});
  check_aligned(buffer.group.backend_kind(), {{"x", &input.x}});
  args.x = input.x.as<const std::uint16_t>();
  args.weights = input.topk_weights.as<const float>();
  args.out_weights = output.topk_weights.as<float>();
  return args;
}

protocol::RowsCombineArgs checked_combine(const ThroughputHandleState& handle,
                                          const CombineExpanded& input, const CombinedRows& output,
                                          const CombineRowsOptions& options) {
  const ThroughputState& buffer = *handle.buffer;
  check_expanded(buffer);
  RowCount count{handle, handle.expanded_rows_needed()};
  count.take("x", input.x, {DType::kBFloat16}, buffer.map.shape.hidden);
  check_outside(input.x, buffer);
  RowCount rows{handle, handle.rows_needed()};
  rows.take("topk_weights", input.topk_weights, {DType::kFloat32}, handle.k);
  require(output.topk_weights.empty(),
          "output topk_weights is {}, but combine_expanded applies weights and returns none",
          text_of(output.topk_weights));
  protocol::RowsCombineArgs args = checked_home(handle, output, options);
  check_reach(buffer.group, {{"x", &input.x}, {"topk_weights", &input.topk_weights}});
  check_aligned(buffer.group.backend_kind(), {{"x", &input.x}});
  args.expanded = true;
  args.x = input.x.as<const std::uint16_t>();
  args.weights = input.topk_weights.as<const float>();
  return args;
}

}  // namespace braid::runtime
