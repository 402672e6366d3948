#include "braid/moe.hpp"

#include <algorithm>
#include <cstring>
#include <map>
#include <memory>
#include <tuple>
#include <utility>

#include "base/check.hpp"
#include "executor/shared_part.hpp"
#include "executor/tiles.hpp"
#include "runtime/budgets.hpp"
#include "runtime/buffer_state.hpp"

namespace braid {
namespace {

using Kind = OperationKind;

constexpr const char* kOutputStep = "output";

bool has_output_step(const OperationContext& context) {
  return std::any_of(context.schedule.operations.begin(), context.schedule.operations.end(),
                     [&](const Operation& other) {
                       return other.name == kOutputStep && other.layer == context.operation.layer &&
                              other.micro_batch == context.operation.micro_batch;
                     });
}

class Moe {
 public:
  Moe(const Buffer& buffer, const MoeOptions& options) : buffer_(buffer), options_(options) {}

  void dispatch_send(OperationContext& context) {
    if (context.operation.round == 0) begin_dispatch(context);
    const Handle& handle = context.state.get<Handle>("handle");
    runtime::set_dispatch_workers(handle, {.send = context.workers});
    buffer_.dispatch_send(handle, context.operation.round, context.stream);
  }

  void dispatch_receive(OperationContext& context) {
    const Handle& handle = context.state.get<Handle>("handle");
    // Before the receive, which a combine's send is ordered behind, whatever lane it is on.
    if (context.operation.round == 0) zero_signals(context);
    runtime::set_dispatch_workers(handle, {.receive = context.workers});
    buffer_.dispatch_receive(handle, context.operation.round, context.stream);
  }

  void combine_send(OperationContext& context) {
    const Handle& handle = context.state.get<Handle>("handle");
    if (context.operation.round == 0) begin_combine(context, handle);
    runtime::set_combine_workers(handle, {.send = context.workers});
    buffer_.combine_send(handle, context.operation.round, context.stream);
  }

  void combine_receive(OperationContext& context) {
    // Gone when this returns: its slot is free for the next dispatch.
    const Handle handle = context.state.pop<Handle>("handle");
    runtime::set_combine_workers(handle, {.receive = context.workers});
    buffer_.combine_receive(handle, context.stream);
    if (!has_output_step(context)) end_layer(context);
  }

  void end_layer(OperationContext& context) {
    const Tensor output = context.state.get<MoeMemory>("memory").output;
    if (context.state.has("shared")) {
      require(buffer_.group().backend_kind() == Backend::kCpu,
              "the shared expert's part is added on the CPU only: leave the value 'shared' out, "
              "and add it in a step '{}' of the schedule, or after the run",
              kOutputStep);
      const Tensor shared = context.state.pop<Tensor>("shared");
      require(shared.dtype == DType::kFloat32 && shared.num_elements() == output.num_elements(),
              "shared is {} of {} elements, but must be f32 of as many as the output's {}",
              to_string(shared.dtype), shared.num_elements(), output.num_elements());
      context.stream.run([output, shared] { executor::add_shared_part(output, shared); });
    }
    context.state.pop<Tensor>("x");
    context.next.set("x", output);
  }

  void abandon(std::exception_ptr failure) const { buffer_.state().abandon(std::move(failure)); }

 private:
  void begin_dispatch(OperationContext& context) {
    if (buffer_.group().backend_kind() == Backend::kCpu) context.wait();
    const MoeMemory& memory = context.state.get<MoeMemory>("memory");
    DispatchInput input{context.state.get<Tensor>("x"), memory.topk_idx, {}};
    if (context.schedule.reduce == Reduce::kExpertRank) input.topk_weights = memory.topk_weights;
    DispatchOptions dispatch = options_.dispatch;
    dispatch.num_rounds = context.operation.num_rounds;
    context.state.set("handle", buffer_.dispatch_begin(input, memory.received, dispatch));
  }

  void zero_signals(OperationContext& context) const {
    if (buffer_.group().backend_kind() != Backend::kCpu) return;
    if (!executor::has_tiles(context.schedule, context.operation)) return;
    const Tensor signals = context.state.get<MoeMemory>("memory").block_signals;
    context.stream.run([signals] { std::memset(signals.data, 0, signals.num_bytes()); });
  }

  void begin_combine(const OperationContext& context, const Handle& handle) {
    const MoeMemory& memory = context.state.get<MoeMemory>("memory");
    CombineOptions combine = options_.combine;
    combine.reduce = context.schedule.reduce;
    combine.num_rounds = context.operation.num_rounds;
    CombineInput input{memory.rows, memory.topk_weights, {}};
    if (executor::has_tiles(context.schedule, context.operation)) {
      input.block_signals = memory.block_signals;
      combine.block_rows = context.schedule.block_rows;
      combine.signal_threshold = std::max(combine.signal_threshold, 1);
    } else {
      combine.signal_threshold = 0;
    }
    buffer_.combine_begin(handle, input, {memory.output, {}}, combine);
  }

  Buffer buffer_;
  MoeOptions options_;
};

}  // namespace

void bind_moe(Bindings& bindings, const Buffer& buffer, const MoeOptions& options) {
  const auto moe = std::make_shared<Moe>(buffer, options);
  const auto call = [&moe](void (Moe::*operation)(OperationContext&)) {
    return [moe, operation](OperationContext& context) { ((*moe).*operation)(context); };
  };
  bindings.bind(Kind::kDispatchSend, call(&Moe::dispatch_send));
  bindings.bind(Kind::kDispatchReceive, call(&Moe::dispatch_receive));
  bindings.bind(Kind::kCombineSend, call(&Moe::combine_send));
  bindings.bind(Kind::kCombineReceive, call(&Moe::combine_receive));
  bindings.bind(kOutputStep, call(&Moe::end_layer));
  // Bound anew to another buffer, the old one goes.
  bindings.on_failure([weak = std::weak_ptr(moe)](std::exception_ptr failure) {
    if (const auto bound = weak.lock()) bound->abandon(std::move(failure));
  });
}

BufferNeeds buffer_needs(const Schedule& schedule) {
  BufferNeeds needs;
  // Operations are numbered by their first sends; the n-th one takes the place of the (n - D)-th.
  std::map<std::tuple<int, int, bool>, int> numbers;  // of what is on its way
  int next = 0, alive = 0;
  for (const int index : start_order(schedule)) {
    const Operation& op = schedule.operations[static_cast<std::size_t>(index)];
    const bool combines = op.kind == Kind::kCombineSend || op.kind == Kind::kCombineReceive;
    const std::tuple key{op.layer, op.micro_batch, combines};
    const bool sends = op.kind == Kind::kDispatchSend || op.kind == Kind::kCombineSend;
    const bool receives = op.kind == Kind::kDispatchReceive || op.kind == Kind::kCombineReceive;
    if (sends || receives) needs.max_rounds = std::max(needs.max_rounds, op.num_rounds);
    if (sends && op.round == 0) {
      int oldest = next;
      for (const auto& [other, number] : numbers) oldest = std::min(oldest, number);
      needs.depth = std::max(needs.depth, next - oldest + 1);
      numbers[key] = next++;
      if (!combines) needs.handle_slots = std::max(needs.handle_slots, ++alive);
    }
    if (!receives || op.round + 1 < op.num_rounds) continue;
    numbers.erase(key);
    if (combines) --alive;
  }
  return needs;
}

bool agree_on_two_batches(Group& group, const TwoBatchWish& wish) {
  const std::string mine = {static_cast<char>('0' + static_cast<int>(wish.mode)),
                            wish.can ? 'y' : 'n'};
  std::vector<TwoBatchWish> wishes;
  for (const std::string& text : group.all_gather(mine)) {
    wishes.push_back({static_cast<ForwardMode>(text.at(0) - '0'), text.at(1) == 'y'});
  }
  return agree_on_two_batches(wishes);
}

}  // namespace braid
