#include "braid/buffer.hpp"

#include <utility>

#include "base/check.hpp"
#include "machine/stream_backend.hpp"
#include "runtime/buffer_checks.hpp"
#include "runtime/buffer_state.hpp"
#include "runtime/group_backend.hpp"
#include "runtime/shape.hpp"

namespace braid {
namespace {

using detail::BufferState;
using detail::HandleState;
using detail::Order;

// Every option by name, for the comparison between ranks.
detail::NamedValues named(const BufferOptions& options) {
  return {{"num_experts", std::to_string(options.num_experts)},
          {"max_tokens", std::to_string(options.max_tokens)},
          {"hidden", std::to_string(options.hidden)},
          {"top_k", std::to_string(options.top_k)},
          {"depth", std::to_string(options.depth)},
          {"max_rounds", std::to_string(options.max_rounds)},
          {"handle_slots", std::to_string(options.handle_slots)},
          {"allow_per_expert", options.allow_per_expert ? "true" : "false"},
          {"combine_regions", options.combine_regions ? "true" : "false"},
          {"few_tokens", std::to_string(options.few_tokens)},
          {"widest_dispatch", to_string(options.widest_dispatch)}};
}

// The options are checked by every rank before the first collective call, so that bad ones are
// refused without waiting for anybody.
std::shared_ptr<BufferState> make_state(Group& group, const BufferOptions& options) {
  const layout::BufferShape shape = runtime::checked_shape(group.topology(), options);
  detail::check_agreement(group, named(options));
  auto state = std::make_shared<BufferState>(group, options, shape);
  state->watch();
  return state;
}

HandleState& state_of(const Handle& handle, const std::shared_ptr<BufferState>& buffer) {
  require(handle.valid(), "the handle is empty; dispatch_begin gives one");
  require(handle.state().buffer == buffer, "the handle of {} is of another buffer",
          handle.state().dispatch_name);
  return handle.state();
}

void check_next_round(const std::string& name, const char* phase, int round, int next, int rounds) {
  if (next == rounds) {
    fail(ErrorCode::kRefused, "{}: all {} rounds were {} already", name, rounds, phase);
  }
  require(round == next, "{}: round {} is to be {}, but the next one is {}", name, round, phase,
          next);
}

// A combine's round takes rows that dispatch has received: those of its experts; at the expert rank
// those of all rounds, since it walks all namings of a token.
void check_received(const HandleState& handle, int round) {
  const int all = handle.dispatch_options.num_rounds;
  const int needed = handle.combine.at_expert_rank
                         ? all
                         : ceil_div((round + 1) * all, handle.combine_options.num_rounds);
  if (handle.dispatch_receives.next_round < needed) {
    fail(ErrorCode::kRefused,
         "{}: round {} can't be sent: it needs {} of the {} rounds of {}, and "
         "{} were received",
         handle.combine_name, round, needed, all, handle.dispatch_name,
         handle.dispatch_receives.next_round);
  }
}

// On the CPU what was enqueued keeps handle and buffer alive until it has run; an engine of another
// device waits for it when it ends.
protocol::Launch launch_of(const Handle& handle, Stream& stream, int workers) {
  return {*stream.backend(), workers, handle.state().shared_from_this()};
}

// What runs both phases of a whole operation as one, or null where they are to be apart.
protocol::Engine::Fused* fused_for(BufferState& buffer, int rounds, int send_workers,
                                   int receive_workers) {
  return rounds == 1 && send_workers == receive_workers ? buffer.engine->fused() : nullptr;
}

void enter_first_send(HandleState& h, Stream& stream) {
  h.buffer->note_sent(h.dispatch_name);
  h.buffer->first_sends.enter(*stream.backend());
  for (const Order& order : h.earlier) order.enter(*stream.backend());
}

void dispatch_at_once(protocol::Engine::Fused& fused, const Handle& handle, Stream& stream) {
  HandleState& h = handle.state();
  enter_first_send(h, stream);
  const Event done =
      fused.dispatch(launch_of(handle, stream, h.dispatch_options.send_workers), h.dispatch);
  for (Order* order : {&h.buffer->first_sends, &h.dispatch_sends.order, &h.dispatch_receives.order,
                       &h.rows_received}) {
    order->leave(*stream.backend(), done);
  }
  h.dispatch_sends.next_round = 1;
  h.dispatch_receives.next_round = 1;
  h.buffer->note_received(h.dispatch_name);
}

void combine_at_once(protocol::Engine::Fused& fused, const Handle& handle, Stream& stream) {
  HandleState& h = handle.state();
  check_received(h, 0);
  require(h.combine.x != nullptr, "{} was begun without x: give each combine_send its round's rows",
          h.combine_name);
  h.buffer->note_sent(h.combine_name);
  h.buffer->first_sends.enter(*stream.backend());
  h.rows_received.enter(*stream.backend());
  h.combine_sends.order.enter(*stream.backend());
  const Event done =
      fused.combine(launch_of(handle, stream, h.combine_options.send_workers), h.combine);
  for (Order* order : {&h.buffer->first_sends, &h.combine_receive, &h.combine_sends.order}) {
    order->leave(*stream.backend(), done);
  }
  h.combine_sends.next_round = 1;
  h.combine_receive_ended();
}

}  // namespace

MemoryPlan Buffer::plan(const Topology& topology, const BufferOptions& options) {
  const layout::BufferShape shape = runtime::checked_shape(topology, options);
  return runtime::plan_of(layout::BufferMap::of(shape), layout::LocalMap::of(shape));
}

Buffer::Buffer(Group& group, const BufferOptions& options) : state_(make_state(group, options)) {
  // Nobody sends before every rank has its tables.
  group.barrier();
}

const BufferOptions& Buffer::options() const { return state_->options; }
Group& Buffer::group() const { return state_->group; }

Handle Buffer::dispatch(const DispatchInput& input, const DispatchOutput& output,
                        const DispatchOptions& options, Stream& stream) {
  state_->check_stream(stream);
  Handle handle = dispatch_begin(input, output, options);
  const DispatchOptions& chosen = handle.state().dispatch_options;
  if (auto* fused =
          fused_for(*state_, chosen.num_rounds, chosen.send_workers, chosen.receive_workers)) {
    dispatch_at_once(*fused, handle, stream);
    return handle;
  }
  for (int round = 0; round < options.num_rounds; ++round) dispatch_send(handle, round, stream);
  for (int round = 0; round < options.num_rounds; ++round) dispatch_receive(handle, round, stream);
  return handle;
}

Handle Buffer::dispatch_begin(const DispatchInput& input, const DispatchOutput& output,
                              const DispatchOptions& options) {
  state_->throw_if_failed();
  state_->throw_bad_input();
  const auto args = runtime::checked_dispatch(*state_, input, output, options);
  state_->engine->check(args);
  const auto handle = std::make_shared<HandleState>(state_);
  handle->dispatch_name = fmt::format("dispatch #{}", ++state_->num_begun);
  handle->dispatch = args;
  handle->dispatch.op.handle_slot = handle->slot;
  handle->dispatch_options = options;
  state_->choose_workers(handle->dispatch_options.send_workers,
                         handle->dispatch_options.receive_workers);
  handle->has_weights = !input.topk_weights.empty();
  // A Handle's last copy frees the slot, whatever enqueued operations still hold of the state.
  const auto owner = std::make_shared<detail::HandleOwner>(handle);
  return Handle(std::shared_ptr<HandleState>(owner, handle.get()));
}

void Buffer::dispatch_send(const Handle& handle, int round, Stream& stream) {
  state_->throw_if_failed();
  HandleState& h = state_of(handle, state_);
  state_->check_stream(stream);
  const int rounds = h.dispatch_options.num_rounds;
  check_next_round(h.dispatch_name, "sent", round, h.dispatch_sends.next_round, rounds);
  if (round == 0) enter_first_send(h, stream);
  h.dispatch_sends.order.enter(*stream.backend());
  const Event sent = state_->engine->dispatch_send(
      launch_of(handle, stream, h.dispatch_options.send_workers), h.dispatch, round);
  if (round == 0) state_->first_sends.leave(*stream.backend(), sent);
  h.dispatch_sends.order.leave(*stream.backend(), sent);
  // The receive reads what the first send stored.
  if (round == 0) h.dispatch_receives.order.leave(*stream.backend(), sent);
  ++h.dispatch_sends.next_round;
}

void Buffer::dispatch_receive(const Handle& handle, int round, Stream& stream) {
  state_->throw_if_failed();
  HandleState& h = state_of(handle, state_);
  state_->check_stream(stream);
  const int rounds = h.dispatch_options.num_rounds;
  check_next_round(h.dispatch_name, "received", round, h.dispatch_receives.next_round, rounds);
  if (round >= h.dispatch_sends.next_round) {
    fail(ErrorCode::kRefused, "{}: round {} is to be received, but was not sent", h.dispatch_name,
         round);
  }
  h.dispatch_receives.order.enter(*stream.backend());
  const Event received = state_->engine->dispatch_receive(
      launch_of(handle, stream, h.dispatch_options.receive_workers), h.dispatch, round);
  h.dispatch_receives.order.leave(*stream.backend(), received);
  // Rows may go home as soon as their round was received.
  h.rows_received.leave(*stream.backend(), received);
  if (++h.dispatch_receives.next_round == rounds) state_->note_received(h.dispatch_name);
}

Hook Buffer::dispatch_hook(const Handle& handle, int round) {
  return [buffer = *this, handle, round](Stream& stream) mutable {
    buffer.dispatch_receive(handle, round, stream);
  };
}

void Buffer::combine(const Handle& handle, const CombineInput& input, const CombineOutput& output,
                     const CombineOptions& options, Stream& stream) {
  combine_begin(handle, input, output, options);
  try {
    require(
        !options.rows_of_one_round || options.num_rounds == 1,
        "combine() with rows_of_one_round can't take {} rounds' rows: call combine_send for each",
        options.num_rounds);
    state_->check_stream(stream);
    const CombineOptions& chosen = handle.state().combine_options;
    if (auto* fused =
            fused_for(*state_, chosen.num_rounds, chosen.send_workers, chosen.receive_workers)) {
      return combine_at_once(*fused, handle, stream);
    }
    for (int round = 0; round < options.num_rounds; ++round) combine_send(handle, round, stream);
  } catch (...) {
    // Refused before anything was sent: the handle is as it was.
    HandleState& h = handle.state();
    if (h.combine_sends.next_round == 0) h.combining = false;
    throw;
  }
  combine_receive(handle, stream);
}

void Buffer::combine_begin(const Handle& handle, const CombineInput& input,
                           const CombineOutput& output, const CombineOptions& options) {
  state_->throw_if_failed();
  HandleState& h = state_of(handle, state_);
  if (h.combining) {
    fail(ErrorCode::kRefused, "{} can't be combined again: {} was not received yet",
         h.dispatch_name, h.combine_name);
  }
  const auto args = runtime::checked_combine(h, input, output, options);
  state_->engine->check(args);
  h.combine = args;
  h.combine_options = options;
  state_->choose_workers(h.combine_options.send_workers, h.combine_options.receive_workers);
  h.combine_name = fmt::format("combine #{}", ++state_->num_begun);
  h.combine_sends.next_round = 0;
  h.combining = true;
}

void Buffer::combine_send(const Handle& handle, int round, Stream& stream) {
  const HandleState& h = state_of(handle, state_);
  require(!h.combining || h.combine.x != nullptr,
          "{} was begun without x: give each combine_send its round's rows", h.combine_name);
  combine_send(handle, round, Tensor{}, stream);
}

void Buffer::combine_send(const Handle& handle, int round, const Tensor& rows, Stream& stream) {
  state_->throw_if_failed();
  HandleState& h = state_of(handle, state_);
  state_->check_stream(stream);
  if (!h.combining) {
    fail(ErrorCode::kRefused, "{} has no combine that was begun", h.dispatch_name);
  }
  const int rounds = h.combine_options.num_rounds;
  check_next_round(h.combine_name, "sent", round, h.combine_sends.next_round, rounds);
  check_received(h, round);
  protocol::CombineArgs args = h.combine;
  if (!rows.empty()) {
    require(args.rows_of_one_round,
            "{} was begun with the rows of all rounds: rows_of_one_round takes them a round at a "
            "time",
            h.combine_name);
    runtime::check_round_rows(h, rows);
    args.x = rows.as<const std::uint16_t>();
  }
  require(args.x != nullptr, "{} was begun without x: give each combine_send its round's rows",
          h.combine_name);
  if (round == 0) {
    state_->note_sent(h.combine_name);
    state_->first_sends.enter(*stream.backend());
  }
  h.rows_received.enter(*stream.backend());
  h.combine_sends.order.enter(*stream.backend());
  const Event sent = state_->engine->combine_send(
      launch_of(handle, stream, h.combine_options.send_workers), args, round);
  if (round == 0) {
    state_->first_sends.leave(*stream.backend(), sent);
    h.combine_receive.leave(*stream.backend(), sent);
  }
  h.combine_sends.order.leave(*stream.backend(), sent);
  ++h.combine_sends.next_round;
}

void Buffer::combine_receive(const Handle& handle, Stream& stream) {
  state_->throw_if_failed();
  HandleState& h = state_of(handle, state_);
  state_->check_stream(stream);
  if (!h.combining || h.combine_sends.next_round < h.combine_options.num_rounds) {
    fail(ErrorCode::kRefused, "{} can't be received: {} of its {} rounds were sent",
         h.combining ? h.combine_name : "the combine of " + h.dispatch_name,
         h.combining ? h.combine_sends.next_round : 0, h.combine_options.num_rounds);
  }
  h.combine_receive.enter(*stream.backend());
  const Event received = state_->engine->combine_receive(
      launch_of(handle, stream, h.combine_options.receive_workers), h.combine);
  h.combine_sends.order.leave(*stream.backend(), received);
  h.combine_receive_ended();
}

Hook Buffer::combine_hook(const Handle& handle) {
  return
      [buffer = *this, handle](Stream& stream) mutable { buffer.combine_receive(handle, stream); };
}

Tensor Buffer::combine_region(const Handle& handle) const {
  const HandleState& h = state_of(handle, state_);
  const layout::BufferShape& shape = state_->map.shape;
  require(shape.combine_regions,
          "{} has no combine region: the buffer was made without "
          "combine_regions",
          h.dispatch_name);
  return {runtime::combine_region(h),
          DType::kBFloat16,
          {shape.num_local(), shape.row_capacity(), shape.hidden}};
}

Traffic Buffer::dispatch_traffic() const { return state_->engine->dispatch_traffic(); }
Traffic Buffer::combine_traffic() const { return state_->engine->combine_traffic(); }

}  // namespace braid
