// The executor: runs a Schedule (schedule.hpp) with callables that do the work.
//
//   Bindings bindings;
//   bind_moe(bindings, buffer, {});                              // dispatch, combine (moe.hpp)
//   bindings.bind(OperationKind::kGate, gate);                   // by kind
//   bindings.bind("attn.core", attention);                       // by a step's name
//   const RunResult result = run(schedule, bindings);            // blocks until all has ended
//
// One host thread walks start_order(schedule) and calls each operation's callable, which enqueues
// its work on the stream of its lane; the executor has put there whatever the operation is to wait
// for. So calls on one Buffer come from one thread, and in the same order on every rank that runs
// the same schedule. A callable may block the host where it needs a value: OperationContext::wait.
// A kTiles edge is no wait: the consumer looks at signals itself.
#pragma once

#include <any>
#include <exception>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <typeinfo>
#include <vector>

#include "braid/schedule.hpp"
#include "braid/stream.hpp"

namespace braid {

// What the operations of one micro-batch in one layer hand each other: named values, each written
// once. A state belongs to the thread that runs the schedule: what a callable enqueues takes the
// values that it needs along.
class State {
 public:
  State() = default;
  explicit State(std::string of) : of_(std::move(of)) {}

  // Throws kRefused where the name has a value already.
  template <class T>
  void set(const std::string& name, T value) {
    put(name, std::any(std::move(value)));
  }
  // Throws kRefused, naming value and operation, where there is none, or one of another type.
  template <class T>
  T& get(const std::string& name) {
    T* value = std::any_cast<T>(&find(name));
    if (value == nullptr) refuse_type(name);
    return *value;
  }
  template <class T>
  T pop(const std::string& name) {
    T value = std::move(get<T>(name));
    values_.erase(name);
    return value;
  }
  bool has(const std::string& name) const { return values_.contains(name); }
  std::vector<std::string> names() const;

  // Throws kRefused naming what is left beside `expected`, and empties the state.
  void clear(const std::set<std::string>& expected);
  // Whom errors name from now on. The executor calls it.
  void serve(std::string operation) { operation_ = std::move(operation); }

 private:
  void put(const std::string& name, std::any value);
  std::any& find(const std::string& name);
  [[noreturn]] void refuse_type(const std::string& name) const;

  std::string of_;
  std::string operation_ = "nobody";
  std::map<std::string, std::any> values_;
};

// One operation that is to be enqueued.
struct OperationContext {
  const Schedule& schedule;
  int index;  // of the operation
  const Operation& operation;
  Stream& stream;  // of its lane
  int workers;     // its budget; where that is 0 the device's
  State& state;    // of its micro-batch in its layer
  State& next;     // of its micro-batch in the next layer; the last layer's are the run's result
  // Blocks until what was enqueued on the lane has run, and what that waits for. Throws what the
  // run has failed with.
  std::function<void()> wait;
};

using OperationCallable = std::function<void(OperationContext&)>;

// What operations do. A name, of a step of a program or of a custom operation, wins over a kind;
// what is bound later replaces what was bound before.
class Bindings {
 public:
  Bindings& bind(OperationKind kind, OperationCallable callable);
  Bindings& bind(const std::string& name, OperationCallable callable);
  // Called once when a run fails, as soon as that is known, with the first failure: to end what
  // waits for work that will not come, here and on other ranks. Must not throw.
  Bindings& on_failure(std::function<void(std::exception_ptr)> callable);

  // Null where there is none.
  const OperationCallable* find(const Operation& operation) const;
  const std::vector<std::function<void(std::exception_ptr)>>& failure_callables() const {
    return on_failure_;
  }

 private:
  std::map<OperationKind, OperationCallable> kinds_;
  std::map<std::string, OperationCallable> names_;
  std::vector<std::function<void(std::exception_ptr)>> on_failure_;
};

struct ExecutorOptions {
  // The stream of a lane; none: Stream::cpu(). Streams must be idle, and stay the caller's: to run
  // a schedule again and again without making threads, hand out the same ones. Not those of a run
  // that failed: they stay failed, and run() throws with what before it starts anything.
  std::function<Stream(int lane)> stream{};
  // Called before the first operation of a micro-batch in a layer: puts the inputs into its state.
  // What it sets may be left when the layer ends; anything else is a leak.
  std::function<void(State& state, int micro_batch, int layer)> prepare{};
};

// Microseconds since the run began, on the clock of the lane.
struct OperationTime {
  double start_us = 0, end_us = 0;
};

struct RunResult {
  std::vector<OperationTime> times;  // of each operation of the schedule
  std::vector<State> results;        // by micro-batch: what its last layer handed on
};

// Runs all of it. Throws before anything starts: kInvalidArgument for a schedule that validate()
// refuses, and naming the operation for one that nothing is bound to.
//
// The first failure ends the run: an exception of a callable, of work on a lane, or kRefused for a
// value of a state that is missing, written twice, or left when its layer ends. Nothing more is
// enqueued, every lane ends, and run() throws what the others follow from: an error of this
// process's own before a time-out, and that before another rank's report of a failure. Lanes end
// soon where on_failure ends their waits, as bind_moe sees to; else by their own deadlines.
RunResult run(const Schedule& schedule, const Bindings& bindings,
              const ExecutorOptions& options = {});

}  // namespace braid
