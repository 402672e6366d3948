#include "executor/lanes.hpp"

#include <chrono>
#include <thread>

#include "base/check.hpp"

namespace braid::executor {
namespace {

// Between looks at several lanes at once, which no event tells of: at full speed at first, then
// leaving the core to the lanes.
class Pause {
 public:
  void operator()() {
    if (++looks_ < kYields) {
      std::this_thread::yield();
    } else {
      std::this_thread::sleep_for(kSleep);
    }
  }

 private:
  static constexpr int kYields = 100;
  static constexpr std::chrono::microseconds kSleep{50};
  int looks_ = 0;
};

}  // namespace

Lanes::Lanes(const Schedule& schedule, const ExecutorOptions& options, Failures& failures)
    : lanes_(schedule.lanes.size()), failures_(failures) {
  for (std::size_t i = 0; i < lanes_.size(); ++i) {
    lanes_[i].stream = options.stream ? options.stream(static_cast<int>(i)) : Stream::cpu();
    require(lanes_[i].stream.valid(), "the stream of lane {} is empty", schedule.lanes[i].name);
    lanes_[i].stream.record().wait();  // throws what it has failed with, before anything starts
  }
}

Event Lanes::record(int lane) {
  Lane& its = lanes_[static_cast<std::size_t>(lane)];
  its.ahead.push_back(its.stream.record());
  return its.ahead.back();
}

void Lanes::look() {
  for (Lane& lane : lanes_) look(lane);
}

void Lanes::look(Lane& lane) {
  while (!lane.ahead.empty() && lane.ahead.front().ready()) {
    const Event reached = std::move(lane.ahead.front());
    lane.ahead.pop_front();
    if (lane.failed) continue;  // a stream that failed stays so, with the same exception
    try {
      reached.wait();
    } catch (...) {
      lane.failed = true;
      failures_.note(std::current_exception());
    }
  }
}

void Lanes::wait(int lane) {
  const Event here = record(lane);
  for (Pause pause; !here.ready(); pause()) {
    look();
    failures_.throw_cause();
  }
  look();
  failures_.throw_cause();
}

void Lanes::drain() {
  for (std::size_t i = 0; i < lanes_.size(); ++i) {
    try {
      record(static_cast<int>(i));
    } catch (...) {
      failures_.note(std::current_exception());
    }
  }
  const auto ran = [this] {
    bool all = true;
    for (const Lane& lane : lanes_) all = all && lane.ahead.empty();
    return all;
  };
  for (Pause pause; look(), !ran(); pause()) {
  }
}

}  // namespace braid::executor
