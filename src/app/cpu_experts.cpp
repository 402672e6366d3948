#include "app/cpu_experts.hpp"

#include <fmt/format.h>

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "base/check.hpp"
#include "executor/tiles.hpp"
#include "expert/pass.hpp"

namespace braid::app {
namespace {

using Kind = OperationKind;
using SharedPass = std::shared_ptr<ExpertPass>;

std::string pass_name(const Operation& operation) {
  return fmt::format("experts {}/{}", operation.round, operation.num_rounds);
}

SharedPass make_pass(const CpuExperts& of, OperationContext& context) {
  const MoeMemory& memory = context.state.get<MoeMemory>("memory");
  const int per_round = of.experts->num_experts() / context.operation.num_rounds;
  const int begin = context.operation.round * per_round;
  const ExpertInput input{.format = of.format,
                          .x = memory.received.x.as<const std::byte>(),
                          .scales = memory.received.scales.as<const std::byte>(),
                          .counts = memory.received.counts.as<const std::int32_t>(),
                          .row_capacity = memory.received.x.dim(1),
                          .hidden = of.experts->hidden(),
                          .scale_layout = of.scale_layout};
  return std::make_shared<ExpertPass>(*of.experts, input, ExpertOutput{.rows = memory.rows.data},
                                      ExpertRange{begin, begin + per_round});
}

void up_gemm(const CpuExperts& of, OperationContext& context) {
  const SharedPass pass = make_pass(of, context);
  context.state.set(pass_name(context.operation), pass);
  context.stream.run([pass, workers = context.workers] { pass->up(workers); });
}

void activation(OperationContext& context) {
  const auto pass = context.state.get<SharedPass>(pass_name(context.operation));
  context.stream.run([pass, workers = context.workers] { pass->activate(workers); });
}

// Raises the signal of a block that is written, where a combine takes blocks.
std::function<void(int expert, int block)> signal_of(const CpuExperts& of,
                                                     OperationContext& context) {
  const Schedule& schedule = context.schedule;
  if (!executor::has_tiles(schedule, context.operation)) return {};
  const int rows = of.experts->options().block_rows;
  require(rows == schedule.block_rows,
          "the schedule's block_rows is {}, but the experts write blocks of {} rows",
          schedule.block_rows, rows);
  const Tensor signals = context.state.get<MoeMemory>("memory").block_signals;
  return [signals](int expert, int block) {
    auto& signal = signals.as<std::int32_t>()[expert * signals.dim(1) + block];
    std::atomic_ref<std::int32_t>(signal).fetch_add(1, std::memory_order_release);
  };
}

void down_gemm(const CpuExperts& of, OperationContext& context) {
  const auto pass = context.state.pop<SharedPass>(pass_name(context.operation));
  context.stream.run([pass, workers = context.workers, signal = signal_of(of, context)] {
    pass->down(workers, signal);
  });
}

void shared_expert(const CpuExperts& of, OperationContext& context) {
  if (of.shared == nullptr) return;
  const auto x = context.state.get<Tensor>("x");
  const auto out = context.state.get<Tensor>("shared_memory");
  context.stream.run([shared = of.shared, x, out, workers = context.workers] {
    if (x.dim(0) > 0) shared->run_dense(x, out.as<float>(), workers);
  });
  context.state.set("shared", out);
}

}  // namespace

void bind_cpu_experts(Bindings& bindings, const CpuExperts& experts) {
  bindings.bind(Kind::kUpGemm, [experts](OperationContext& c) { up_gemm(experts, c); });
  bindings.bind(Kind::kActivation, activation);
  bindings.bind(Kind::kDownGemm, [experts](OperationContext& c) { down_gemm(experts, c); });
  bindings.bind(Kind::kSharedExpert, [experts](OperationContext& c) { shared_expert(experts, c); });
}

}  // namespace braid::app
