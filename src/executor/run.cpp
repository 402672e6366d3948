#include <algorithm>
#include <chrono>
#include <memory>
#include <utility>

#include "base/check.hpp"
#include "braid/executor.hpp"
#include "executor/failures.hpp"
#include "executor/lanes.hpp"

namespace braid {
namespace executor {
namespace {

using Clock = std::chrono::steady_clock;

class Run {
 public:
  Run(const Schedule& schedule, const Bindings& bindings, const ExecutorOptions& options)
      : schedule_(schedule),
        bindings_(bindings),
        options_(options),
        order_(start_order(schedule)),
        failures_(bindings),
        lanes_(schedule, options, failures_),
        events_(schedule.operations.size()),
        times_(std::make_shared<std::vector<OperationTime>>(schedule.operations.size())) {
    for (const int index : order_) last_of_[batch_of(at(index))] = index;
    for (const auto& [batch, index] : last_of_) {
      last_layer_[batch.first] = std::max(last_layer_[batch.first], batch.second);
    }
  }

  RunResult run() {
    try {
      for (const int index : order_) start(index);
    } catch (...) {
      failures_.note(std::current_exception());
    }
    lanes_.drain();
    failures_.throw_cause();
    RunResult result;
    result.times = *times_;
    for (const auto& [batch, layer] : last_layer_) {
      result.results.push_back(std::move(state_of({batch, layer + 1})));
    }
    return result;
  }

 private:
  using Batch = std::pair<int, int>;  // micro-batch, layer

  static Batch batch_of(const Operation& operation) {
    return {operation.micro_batch, operation.layer};
  }
  const Operation& at(int index) const {
    return schedule_.operations[static_cast<std::size_t>(index)];
  }

  void start(int index) {
    lanes_.look();
    failures_.throw_cause();
    const Operation& operation = at(index);
    Stream& stream = lanes_.stream(operation.lane);
    for (const Edge& edge : schedule_.edges) {
      const bool waits = edge.to == index && edge.kind == EdgeKind::kAfter;
      // A lane is in order by itself.
      if (!waits || at(edge.from).lane == operation.lane) continue;
      stream.wait(events_[static_cast<std::size_t>(edge.from)]);
    }
    note_time(stream, index, &OperationTime::start_us);
    call(index, stream);
    note_time(stream, index, &OperationTime::end_us);
    events_[static_cast<std::size_t>(index)] = lanes_.record(operation.lane);
    if (last_of_.at(batch_of(operation)) == index) end_layer(batch_of(operation));
  }

  void call(int index, Stream& stream) {
    const Operation& operation = at(index);
    const Batch batch = batch_of(operation);
    State& state = prepared(batch);
    State& next = state_of({batch.first, batch.second + 1});
    const std::string name = describe(schedule_, index);
    state.serve(name);
    next.serve(name);
    OperationContext context{schedule_,
                             index,
                             operation,
                             stream,
                             operation.sms > 0 ? operation.sms : schedule_.device_sms,
                             state,
                             next,
                             [this, &operation] { lanes_.wait(operation.lane); }};
    (*bindings_.find(operation))(context);
  }

  void note_time(Stream& stream, int index, double OperationTime::*point) {
    stream.run([times = times_, index, point, start = start_] {
      (*times)[static_cast<std::size_t>(index)].*point =
          std::chrono::duration<double, std::micro>(Clock::now() - start).count();
    });
  }

  State& state_of(const Batch& batch) {
    const auto made = states_.try_emplace(
        batch, fmt::format("micro-batch {} in layer {}", batch.first, batch.second));
    return made.first->second;
  }

  // With its inputs.
  State& prepared(const Batch& batch) {
    State& state = state_of(batch);
    if (!inputs_.try_emplace(batch).second) return state;
    if (!options_.prepare) return state;
    const std::vector<std::string> handed_on = state.names();
    state.serve("ExecutorOptions::prepare");
    options_.prepare(state, batch.first, batch.second);
    for (const std::string& name : state.names()) inputs_[batch].insert(name);
    for (const std::string& name : handed_on) inputs_[batch].erase(name);
    return state;
  }

  void end_layer(const Batch& batch) { state_of(batch).clear(inputs_.at(batch)); }

  const Schedule& schedule_;
  const Bindings& bindings_;
  const ExecutorOptions& options_;
  std::vector<int> order_;
  Failures failures_;
  Lanes lanes_;
  const Clock::time_point start_ = Clock::now();
  std::vector<Event> events_;  // behind each operation
  std::shared_ptr<std::vector<OperationTime>> times_;
  std::map<Batch, State> states_;
  std::map<Batch, std::set<std::string>> inputs_;  // names that may be left
  std::map<Batch, int> last_of_;                   // the operation that ends a layer
  std::map<int, int> last_layer_;                  // by micro-batch
};

}  // namespace
}  // namespace executor

RunResult run(const Schedule& schedule, const Bindings& bindings, const ExecutorOptions& options) {
  validate(schedule);
  for (std::size_t i = 0; i < schedule.operations.size(); ++i) {
    require(bindings.find(schedule.operations[i]) != nullptr,
            "nothing is bound to {}: bind its kind or its name",
            describe(schedule, static_cast<int>(i)));
  }
  return executor::Run(schedule, bindings, options).run();
}

}  // namespace braid
