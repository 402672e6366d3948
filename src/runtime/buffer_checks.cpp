#include "runtime/buffer_checks.hpp"

#include <vector>

#include "base/check.hpp"
#include "codec/row.hpp"
#include "runtime/tensor_checks.hpp"

namespace braid::runtime {
namespace {

void check_hidden(const char* what, const char* format, int hidden, int multiple) {
  require(hidden % multiple == 0, "hidden is {}, but {} {} needs a multiple of {}", hidden, what,
          format, multiple);
}

void check_rounds(int num_rounds, const layout::BufferShape& shape) {
  require(num_rounds >= 1 && num_rounds <= shape.max_rounds,
          "rounds is {}, but must be 1 to the buffer's max_rounds {}", num_rounds,
          shape.max_rounds);
  require(shape.num_local() % num_rounds == 0, "{} rounds don't divide the {} local experts",
          num_rounds, shape.num_local());
}

protocol::OperationArgs operation_args(const detail::BufferState& buffer) {
  protocol::OperationArgs op;
  op.map = buffer.map;
  op.local_map = buffer.local_map;
  op.local = buffer.engine->local();
  return op;
}

// Whether a combine's signals, its threshold and what they are for go together.
void check_signals(const layout::BufferShape& shape, const Tensor& signals,
                   const CombineOptions& options) {
  if (signals.empty()) {
    require(options.signal_threshold == 0, "signal_threshold is {}, but no block_signals are given",
            options.signal_threshold);
    return;
  }
  require(options.reduce == Reduce::kTokenRank,
          "block_signals are given, but reduce is {}: only token_rank sends rows block by block",
          to_string(options.reduce));
  require(options.signal_threshold >= 1,
          "signal_threshold is {}, but must be at least 1 where block_signals are given",
          options.signal_threshold);
  check_tensor("block_signals", signals, {DType::kInt32},
               {shape.num_local(), shape.blocks_of_expert(options.block_rows)});
}

void check_budgets(const protocol::Engine& engine, int send, int receive) {
  check_workers("send", send, engine.budget());
  check_workers("receive", receive, engine.budget());
}

}  // namespace

protocol::DispatchArgs checked_dispatch(const detail::BufferState& buffer,
                                        const DispatchInput& input, const DispatchOutput& output,
                                        const DispatchOptions& options) {
  const layout::BufferShape& shape = buffer.map.shape;
  const char* format = to_string(options.format);
  check_hidden("dispatch format", format, shape.hidden, codec::hidden_multiple(options.format));
  require(input.x.rank == 2, "x is {}, but must be bf16 [tokens, {}]", text_of(input.x),
          shape.hidden);
  check_tensor("x", input.x, {DType::kBFloat16}, {input.x.dim(0), shape.hidden});
  check_token_count(input.x.dim(0), shape.max_tokens);
  check_rounds(options.num_rounds, shape);
  check_budgets(*buffer.engine, options.send_workers, options.receive_workers);

  protocol::DispatchArgs args;
  args.op = operation_args(buffer);
  args.rules.experts = {shape.num_experts, shape.num_ranks, options.num_rounds};
  args.rules.per_expert = options.fan_out == FanOut::kPerExpert;
  args.topk =
      checked_topk(input.topk_idx, {shape.num_experts, shape.top_k}, buffer.group.backend_kind());
  require(args.topk.num_tokens == input.x.dim(0), "topk_idx has {} tokens, but x has {}",
          args.topk.num_tokens, input.x.dim(0));
  require(
      !args.rules.per_expert || shape.copies_per_token() >= min_of(args.topk.k, shape.num_local()),
      "fan-out is per_expert, but the buffer was made without allow_per_expert");
  const std::int64_t message =
      layout::MessageShape::of(options.format, shape.hidden).bytes(args.topk.k);
  require(
      message <= shape.message_stride(),
      "dispatch format {} needs messages of {} bytes, but the buffer was made for {} ({} bytes)",
      format, message, to_string(shape.widest_dispatch), shape.message_stride());
  if (!input.topk_weights.empty()) {
    check_tensor("topk_weights", input.topk_weights, {DType::kFloat32},
                 {args.topk.num_tokens, args.topk.k});
  }
  const std::int64_t num_local = shape.num_local();
  const std::int64_t capacity = shape.row_capacity();
  const bool is_bf16 = options.format == DispatchFormat::kBf16;
  check_tensor("output x", output.x, {is_bf16 ? DType::kBFloat16 : DType::kFloat8E4M3},
               {num_local, capacity, shape.hidden});
  if (!is_bf16) {
    const bool packed = options.format == DispatchFormat::kFp8Ue8m0;
    const std::int64_t words = codec::dispatch_scale_bytes(options.format, shape.hidden) / 4;
    std::vector<std::int64_t> expected = {num_local, capacity, words};
    if (options.scale_layout == ScaleLayout::kColumnMajor) expected = {num_local, words, capacity};
    check_tensor("output scales", output.scales, {packed ? DType::kInt32 : DType::kFloat32},
                 expected);
  }
  check_tensor("output counts", output.counts, {DType::kInt32}, {num_local});
  check_optional("output received_total", output.received_total, DType::kInt64, num_local);
  check_optional("output waited_ns", output.waited_ns, DType::kInt64, shape.num_ranks);
  check_reach(buffer.group, {{"x", &input.x},
                             {"topk_idx", &input.topk_idx},
                             {"topk_weights", &input.topk_weights},
                             {"output x", &output.x},
                             {"output scales", &output.scales},
                             {"output counts", &output.counts},
                             {"output received_total", &output.received_total},
                             {"output waited_ns", &output.waited_ns}});

  args.format = options.format;
  args.scale_layout = options.scale_layout;
  args.x = input.x.as<const std::uint16_t>();
  args.weights = input.topk_weights.as<const float>();
  args.out_x = output.x.as<std::byte>();
  args.out_scales = output.scales.as<std::byte>();
  args.out_counts = output.counts.as<std::int32_t>();
  args.received_total = output.received_total.as<std::int64_t>();
  args.waited_ns = output.waited_ns.as<std::int64_t>();
  return args;
}

protocol::CombineArgs checked_combine(const detail::HandleState& handle, const CombineInput& input,
                                      const CombineOutput& output, const CombineOptions& options) {
  const layout::BufferShape& shape = handle.buffer->map.shape;
  check_hidden("combine format", to_string(options.format), shape.hidden,
               codec::hidden_multiple(options.format));
  check_rounds(options.num_rounds, shape);
  check_budgets(*handle.buffer->engine, options.send_workers, options.receive_workers);
  require(options.block_rows >= 1, "block_rows is {}, but must be at least 1", options.block_rows);
  check_signals(shape, input.block_signals, options);
  const bool at_expert_rank = options.reduce == Reduce::kExpertRank;
  require(!at_expert_rank || handle.has_weights,
          "reduce is expert_rank, but {} was given no topk_weights to take along",
          handle.dispatch_name);

  protocol::CombineArgs args;
  args.op = handle.dispatch.op;
  args.experts = {shape.num_experts, shape.num_ranks, options.num_rounds};
  args.topk = handle.dispatch.topk;
  const std::int64_t tokens = args.topk.num_tokens;
  if (!at_expert_rank) {
    check_tensor("topk_weights", input.topk_weights, {DType::kFloat32}, {tokens, args.topk.k});
  }
  const bool in_region = input.x.empty() && !options.rows_of_one_round;
  if (in_region) {
    require(shape.combine_regions,
            "x is not given, and the buffer was made without combine_regions to take rows from");
  } else if (!options.rows_of_one_round) {
    check_tensor("x", input.x, {DType::kBFloat16},
                 {shape.num_local(), shape.row_capacity(), shape.hidden});
  } else if (!input.x.empty()) {
    check_tensor("x", input.x, {DType::kBFloat16},
                 {args.experts.per_round(), shape.row_capacity(), shape.hidden});
  }
  check_tensor("output x", output.x, {DType::kBFloat16}, {tokens, shape.hidden});
  check_optional("output waited_ns", output.waited_ns, DType::kInt64, shape.num_ranks);
  check_reach(handle.buffer->group, {{"x", &input.x},
                                     {"topk_weights", &input.topk_weights},
                                     {"block_signals", &input.block_signals},
                                     {"output x", &output.x},
                                     {"output waited_ns", &output.waited_ns}});

  args.format = options.format;
  args.at_expert_rank = at_expert_rank;
  args.rows_of_one_round = options.rows_of_one_round;
  args.block_rows = options.block_rows;
  args.signals = input.block_signals.as<const std::int32_t>();
  args.signal_threshold = options.signal_threshold;
  args.x = in_region ? combine_region(handle) : input.x.as<const std::uint16_t>();
  args.weights = input.topk_weights.as<const float>();
  args.out = output.x.as<std::uint16_t>();
  args.waited_ns = output.waited_ns.as<std::int64_t>();
  return args;
}

std::uint16_t* combine_region(const detail::HandleState& handle) {
  const detail::BufferState& buffer = *handle.buffer;
  return reinterpret_cast<std::uint16_t*>(buffer.engine->local() +
                                          buffer.local_map.combine_region(handle.slot));
}

void check_round_rows(const detail::HandleState& handle, const Tensor& rows) {
  const layout::BufferShape& shape = handle.buffer->map.shape;
  check_tensor("rows", rows, {DType::kBFloat16},
               {handle.combine.experts.per_round(), shape.row_capacity(), shape.hidden});
  check_reach(handle.buffer->group, {{"rows", &rows}});
}

}  // namespace braid::runtime
