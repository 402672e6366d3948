#include "app/scheduled_layer.hpp"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <optional>

#include "app/block.hpp"
#include "app/cpu_experts.hpp"
#include "app/operations.hpp"
#include "app/run_schedules.hpp"
#include "base/math.hpp"
#include "braid/moe.hpp"
#include "model/router.hpp"

namespace braid::app {
namespace {

using Clock = std::chrono::steady_clock;
using Kind = OperationKind;

// Decode splits a batch where sequences have one token each.
constexpr int kTokensPerSequence = 1;

Tensor rows_of(const Tensor& tensor, const Range& rows) {
  Tensor part = tensor;
  const auto count = static_cast<std::size_t>(max_of<std::int64_t>(tensor.dim(0), 1));
  const std::size_t row = tensor.num_bytes() / count;
  part.data = tensor.as<std::byte>() + static_cast<std::size_t>(rows.begin) * row;
  part.shape[0] = rows.size();
  return part;
}

BufferOptions buffer_for(const RunOptions& options, const LayerCase& layer, int max_tokens) {
  BufferOptions buffer = buffer_options(options.communication, layer.shape, max_tokens);
  const RunSchedules schedules = run_schedules(options, layer);
  for (const Schedule* schedule : {&schedules.chosen, &schedules.sequential}) {
    const BufferNeeds needs = buffer_needs(*schedule);
    buffer.depth = std::max(buffer.depth, needs.depth);
    buffer.max_rounds = std::max(buffer.max_rounds, needs.max_rounds);
    buffer.handle_slots = std::max(buffer.handle_slots, needs.handle_slots);
  }
  return buffer;
}

double* step_of(StepTimes& steps, Kind kind) {
  switch (kind) {
    case Kind::kGate: return &steps.gate;
    case Kind::kDispatchSend:
    case Kind::kDispatchReceive: return &steps.dispatch;
    case Kind::kUpGemm:
    case Kind::kActivation:
    case Kind::kDownGemm: return &steps.experts;
    case Kind::kCombineSend:
    case Kind::kCombineReceive: return &steps.combine;
    case Kind::kSharedExpert: return &steps.shared;
    case Kind::kAttention:
    case Kind::kCustom: return nullptr;
  }
  return nullptr;
}

StepTimes steps_of(const Schedule& schedule, const std::vector<OperationTime>& times) {
  StepTimes steps;
  for (std::size_t i = 0; i < times.size(); ++i) {
    double* step = step_of(steps, schedule.operations[i].kind);
    if (step != nullptr) *step += times[i].end_us - times[i].start_us;
  }
  return steps;
}

}  // namespace

struct ScheduledLayer::Parts {
  Parts(Group& its_group, const RunOptions& options, const LayerCase& its_layer)
      : group(its_group),
        communication(options.communication),
        layer(its_layer),
        x(layer.x_of(group.rank(), communication.ranks)),
        max_tokens(layer.max_tokens(communication.ranks)),
        buffer(group, buffer_for(options, layer, max_tokens)),
        experts(layer.experts_of(group.rank(), communication.ranks),
                {.block_rows = options.overlap.block_rows}),
        topk_idx(DType::kInt64, {x.dim(0), layer.shape.top_k}),
        topk_weights(DType::kFloat32, {x.dim(0), layer.shape.top_k}),
        output(DType::kBFloat16, {x.dim(0), layer.shape.hidden}),
        signals(DType::kInt32,
                {experts.num_experts(), ceil_div(std::int64_t{communication.ranks} * max_tokens,
                                                 std::int64_t{options.overlap.block_rows})}) {
    if (layer.layer.shared) {
      shared.emplace(std::vector<ExpertWeights>{*layer.layer.shared});
      shared_out = Block(DType::kFloat32, {x.dim(0), layer.shape.hidden});
    }
    bind();
  }

  void bind() {
    bind_moe(bindings, buffer, {dispatch_options(communication), combine_options(communication)});
    bind_cpu_experts(bindings, {.experts = &experts,
                                .shared = shared ? &*shared : nullptr,
                                .format = communication.dispatch,
                                .scale_layout = communication.scales});
    bindings.bind(Kind::kGate, [this](OperationContext& context) { gate(context); });
    // A layer's checkpoint has no attention: its steps, and those that communicate for it, are
    // passed through.
    bindings.bind(Kind::kAttention, [](OperationContext&) {});
    bindings.bind(Kind::kCustom, [](OperationContext&) {});
  }

  void gate(OperationContext& context) const {
    const auto batch_x = context.state.get<Tensor>("x");
    const auto memory = context.state.get<MoeMemory>("memory");
    context.stream.run([this, batch_x, memory, workers = context.workers] {
      const model::Routes routes =
          model::route(layer.layer, batch_x.as<const std::uint16_t>(), batch_x.dim(0), workers);
      std::copy(routes.topk_idx.begin(), routes.topk_idx.end(), memory.topk_idx.as<std::int64_t>());
      std::copy(routes.topk_weights.begin(), routes.topk_weights.end(),
                memory.topk_weights.as<float>());
    });
  }

  // This rank's tokens of a micro-batch.
  Range batch_range(int batch, int micro_batches) const {
    if (micro_batches == 1) return {0, x.dim(0)};
    const BatchSplit split = split_decode(x.dim(0), kTokensPerSequence);
    return batch == 0 ? Range{0, split.tokens} : Range{split.tokens, x.dim(0)};
  }

  // What a pass needs and the last one had not.
  void extend(const Schedule& schedule, int micro_batches) {
    while (static_cast<int>(received.size()) < micro_batches) {
      received.emplace_back(communication, layer.shape, max_tokens);
      rows.push_back(received.back().rows_like_x());
    }
    while (streams.size() < schedule.lanes.size()) streams.push_back(Stream::cpu());
  }

  void prepare(State& state, int batch, int micro_batches) const {
    const auto at = static_cast<std::size_t>(batch);
    const Range range = batch_range(batch, micro_batches);
    state.set("x", rows_of(x, range));
    state.set("memory", MoeMemory{.topk_idx = rows_of(topk_idx.tensor(), range),
                                  .topk_weights = rows_of(topk_weights.tensor(), range),
                                  .received = received[at].output(),
                                  .rows = rows[at].tensor(),
                                  .output = rows_of(output.tensor(), range),
                                  .block_signals = signals.tensor()});
    if (shared) state.set("shared_memory", rows_of(shared_out.tensor(), range));
  }

  Group& group;
  const CommunicationOptions communication;
  const LayerCase& layer;
  Tensor x;  // this rank's
  int max_tokens;
  Buffer buffer;
  ExpertFfn experts;
  std::optional<ExpertFfn> shared;
  Block topk_idx, topk_weights, output, signals, shared_out;
  std::vector<ReceivedRows> received;  // by micro-batch
  std::vector<Block> rows;
  int last_batches = 1;
  Bindings bindings;
  std::vector<Stream> streams;  // last, so that they end before the memory that they work on
};

ScheduledLayer::ScheduledLayer(Group& group, const RunOptions& options, const LayerCase& layer)
    : parts_(std::make_unique<Parts>(group, options, layer)) {}

ScheduledLayer::~ScheduledLayer() = default;

ScheduledPass ScheduledLayer::pass(const Schedule& schedule, int micro_batches) {
  Parts& parts = *parts_;
  parts.last_batches = micro_batches;
  parts.extend(schedule, micro_batches);
  // A row that nobody writes is then not a number, instead of the last repeat's right one.
  std::memset(parts.output.as<void>(), 0xff, parts.output.tensor().num_bytes());
  parts.group.barrier();
  const Clock::time_point start = Clock::now();
  RunResult result =
      run(schedule, parts.bindings,
          {.stream = [&](int lane) { return parts.streams[static_cast<std::size_t>(lane)]; },
           .prepare = [&](State& state, int batch,
                          int) { parts.prepare(state, batch, micro_batches); }});
  const auto total = std::chrono::duration<double, std::micro>(Clock::now() - start);
  ScheduledPass pass;
  pass.steps = steps_of(schedule, result.times);
  pass.steps.total = total.count();
  pass.times = std::move(result.times);
  pass.output = {parts.output.as<const char>(), parts.output.tensor().num_bytes()};
  return pass;
}

bool ScheduledLayer::agree_on_two_batches() const {
  const auto mode = parts_->x.dim(0) > 0 ? ForwardMode::kDecode : ForwardMode::kIdle;
  return braid::agree_on_two_batches(parts_->group, two_batch_wish(mode, ExpertPath::kLowLatency));
}

std::vector<std::int64_t> ScheduledLayer::tokens_per_expert() const {
  std::vector<std::int64_t> sums = parts_->received.front().tokens_per_expert();
  if (parts_->last_batches == 1) return sums;
  const std::vector<std::int64_t> more = parts_->received.at(1).tokens_per_expert();
  for (std::size_t i = 0; i < sums.size(); ++i) sums[i] += more[i];
  return sums;
}

OperationTraffic ScheduledLayer::traffic() const {
  return {parts_->buffer.dispatch_traffic(), parts_->buffer.combine_traffic()};
}

}  // namespace braid::app
