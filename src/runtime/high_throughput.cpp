#include "braid/high_throughput.hpp"

#include <utility>

#include "base/check.hpp"
#include "codec/row.hpp"
#include "runtime/throughput_checks.hpp"
#include "runtime/throughput_state.hpp"

namespace braid {
namespace {

using detail::ThroughputHandleState;
using detail::ThroughputState;

// Every option by name, for the comparison between ranks.
detail::NamedValues named(const HighThroughputOptions& options) {
  return {{"num_experts", std::to_string(options.num_experts)},
          {"max_tokens", std::to_string(options.max_tokens)},
          {"hidden", std::to_string(options.hidden)},
          {"top_k", std::to_string(options.top_k)},
          {"depth", std::to_string(options.depth)},
          {"handle_slots", std::to_string(options.handle_slots)},
          {"expanded", options.expanded ? "true" : "false"},
          {"widest_dispatch", to_string(options.widest_dispatch)}};
}

// The options are checked by every rank before the first collective call, so that bad ones are
// refused without waiting for anybody.
std::shared_ptr<ThroughputState> make_state(Group& group, const HighThroughputOptions& options) {
  const layout::ThroughputShape shape = runtime::checked_shape(group.topology(), options);
  detail::check_agreement(group, named(options));
  auto state = std::make_shared<ThroughputState>(group, options, shape);
  state->watch();
  return state;
}

ThroughputHandleState& state_of(const ThroughputHandle& handle,
                                const std::shared_ptr<ThroughputState>& buffer) {
  buffer->throw_if_failed();
  require(handle.valid(), "the handle is empty; layout gives one");
  require(handle.state().buffer == buffer, "the handle of {} is of another buffer",
          handle.state().name);
  return handle.state();
}

// On the CPU what was enqueued keeps handle and buffer alive until it has run.
protocol::Launch launch_of(ThroughputHandleState& handle, Stream& stream, int workers) {
  return {*stream.backend(), handle.buffer->workers_of(workers), handle.shared_from_this()};
}

void enqueue_combine(ThroughputHandleState& h, const protocol::RowsCombineArgs& args, int workers,
                     Stream& stream) {
  h.buffer->roles().check(args);
  h.buffer->run(stream, "combine of " + h.name,
                [&] { return h.buffer->roles().combine(launch_of(h, stream, workers), args); });
}

void enqueue_dispatch(ThroughputHandleState& h, const protocol::RowsDispatchArgs& args, int workers,
                      Stream& stream) {
  h.buffer->roles().check(args);
  h.buffer->run(stream, "dispatch of " + h.name,
                [&] { return h.buffer->roles().dispatch(launch_of(h, stream, workers), args); });
}

// The rows of the operation that is enqueued next, where they will arrive.
DispatchedRows rows_in_place(const ThroughputHandleState& h, const DispatchedRows& output,
                             DispatchFormat format) {
  const layout::ThroughputMap& map = h.buffer->map;
  const auto epoch = static_cast<std::uint32_t>(h.buffer->num_operations + 1);
  const int depth = static_cast<int>(epoch % static_cast<std::uint32_t>(map.shape.depth));
  const std::int64_t rows = h.rows_needed();
  const bool is_fp8 = format == DispatchFormat::kFp8;
  std::byte* block = h.buffer->engine->symmetric();
  DispatchedRows dispatched = output;
  dispatched.x = {block + map.row(depth, 0, codec::dispatch_data_bytes(format, map.shape.hidden)),
                  is_fp8 ? DType::kFloat8E4M3 : DType::kBFloat16,
                  {rows, map.shape.hidden}};
  if (is_fp8) {
    dispatched.scales = {
        block + map.row_scales(depth, 0), DType::kFloat32, {rows, map.shape.hidden / kScaleGroup}};
  }
  return dispatched;
}

}  // namespace

MemoryPlan HighThroughputBuffer::plan(const Topology& topology,
                                      const HighThroughputOptions& options) {
  const layout::ThroughputShape shape = runtime::checked_shape(topology, options);
  return runtime::plan_of(layout::ThroughputMap::of(shape), layout::ThroughputLocalMap::of(shape));
}

HighThroughputBuffer::HighThroughputBuffer(Group& group, const HighThroughputOptions& options)
    : state_(make_state(group, options)) {
  // Nobody sends before every rank has its tables.
  group.barrier();
}

const HighThroughputOptions& HighThroughputBuffer::options() const { return state_->options; }
Group& HighThroughputBuffer::group() const { return state_->group; }

ThroughputHandle HighThroughputBuffer::layout(const Tensor& topk_idx, const LayoutOptions& options,
                                              Stream& stream) {
  state_->throw_if_failed();
  state_->throw_bad_input();
  state_->check_stream(stream);
  protocol::LayoutArgs args = runtime::checked_layout(*state_, topk_idx, options);
  const auto h = std::make_shared<ThroughputHandleState>(state_);
  // A handle's last copy frees the slot, whatever enqueued operations still hold of the state.
  const auto owner = std::make_shared<detail::ThroughputHandleOwner>(h);
  h->number = state_->num_operations + 1;
  h->name = fmt::format("layout #{}", h->number);
  h->num_tokens = args.topk.num_tokens;
  h->k = args.topk.k;
  h->expert_alignment = options.expert_alignment;
  args.op = state_->args_of(h->slot);
  args.record =
      state_->engine->host_block() + layout::ReceivedMap::of(state_->map.shape).record(h->slot);
  args.number = h->number;
  state_->roles().check(args);
  h->laid_out = state_->run(stream, h->name, [&] {
    return state_->roles().layout(launch_of(*h, stream, options.workers), args);
  });
  return ThroughputHandle(std::shared_ptr<ThroughputHandleState>(owner, h.get()));
}

ReceivedCounts HighThroughputBuffer::received(const ThroughputHandle& handle) {
  return detail::await_received(state_of(handle, state_));
}

void HighThroughputBuffer::dispatch(const ThroughputHandle& handle, const DispatchRows& input,
                                    const DispatchedRows& output,
                                    const DispatchRowsOptions& options, Stream& stream) {
  ThroughputHandleState& h = state_of(handle, state_);
  state_->check_stream(stream);
  const auto args =
      runtime::checked_dispatch(h, {input, output, options, runtime::RowsTo::kTensors});
  enqueue_dispatch(h, args, options.workers, stream);
}

DispatchedRows HighThroughputBuffer::dispatch_in_place(const ThroughputHandle& handle,
                                                       const DispatchRows& input,
                                                       const DispatchedRows& output,
                                                       const DispatchRowsOptions& options,
                                                       Stream& stream) {
  ThroughputHandleState& h = state_of(handle, state_);
  state_->check_stream(stream);
  const auto args =
      runtime::checked_dispatch(h, {input, output, options, runtime::RowsTo::kInPlace});
  if (state_->captured || stream.backend()->record()->captured()) {
    fail(ErrorCode::kRefused,
         "a dispatch in place on {} is refused: operations of the buffer were captured into a "
         "graph, and where rows arrive is then known on the device only; give outputs for them",
         h.name);
  }
  const DispatchedRows rows = rows_in_place(h, output, options.format);
  enqueue_dispatch(h, args, options.workers, stream);
  return rows;
}

void HighThroughputBuffer::combine(const ThroughputHandle& handle, const CombineRows& input,
                                   const CombinedRows& output, const CombineRowsOptions& options,
                                   Stream& stream) {
  ThroughputHandleState& h = state_of(handle, state_);
  state_->check_stream(stream);
  enqueue_combine(h, runtime::checked_combine(h, input, output, options), options.workers, stream);
}

void HighThroughputBuffer::dispatch_expanded(const ThroughputHandle& handle,
                                             const DispatchRows& input, const ExpandedRows& output,
                                             const DispatchRowsOptions& options, Stream& stream) {
  ThroughputHandleState& h = state_of(handle, state_);
  state_->check_stream(stream);
  enqueue_dispatch(h, runtime::checked_dispatch(h, input, output, options), options.workers,
                   stream);
}

void HighThroughputBuffer::combine_expanded(const ThroughputHandle& handle,
                                            const CombineExpanded& input,
                                            const CombinedRows& output,
                                            const CombineRowsOptions& options, Stream& stream) {
  ThroughputHandleState& h = state_of(handle, state_);
  state_->check_stream(stream);
  enqueue_combine(h, runtime::checked_combine(h, input, output, options), options.workers, stream);
}

Traffic HighThroughputBuffer::dispatch_traffic() const {
  return state_->engine->dispatch_traffic();
}
Traffic HighThroughputBuffer::combine_traffic() const { return state_->engine->combine_traffic(); }

}  // namespace braid
