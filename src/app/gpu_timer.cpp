#include "app/gpu_timer.hpp"

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <string>
#include <utility>

#include "base/check.hpp"
#include "machine/stream_backend.hpp"
#include "runtime/group_backend.hpp"

namespace braid::app {
namespace {

using Clock = std::chrono::steady_clock;

// All ranks return at the same time, to a microsecond: they agree on one that is far enough away
// for everybody to have heard of it. Processes of a host have one steady clock.
void start_together(Group& group) {
  constexpr std::int64_t kAheadNs = 500'000;
  const auto now = [] { return Clock::now().time_since_epoch(); };
  std::int64_t latest = 0;
  for (const std::string& each :
       group.all_gather(std::to_string(std::chrono::nanoseconds(now()).count()))) {
    latest = std::max(latest, std::int64_t{std::stoll(each)});
  }
  const std::chrono::nanoseconds start(latest + kAheadNs);
  while (now() < start) {
  }
}

double microseconds_since(Clock::time_point start) {
  return std::chrono::duration<double, std::micro>(Clock::now() - start).count();
}

}  // namespace

int sms_of(Group& group, int budget) {
  if (budget != 0) return budget;
  const detail::DeviceBackend& device = group.backend().device();
  const auto places = group.all_gather(device.place());
  return device.num_workers() /
         static_cast<int>(std::count(places.begin(), places.end(), device.place()));
}

GpuTimer::GpuTimer(Group& group, Stream& stream, GpuTimings timings)
    : group_(group),
      stream_(stream),
      timings_(std::move(timings)),
      recorder_(stream.backend()->make_recorder()) {
  require(recorder_ != nullptr, "backend {} has no graphs to time",
          to_string(group.backend_kind()));
}

std::vector<double> GpuTimer::graph(const Operation& enqueue) {
  graphs_.push_back(recorder_->capture([&] {
    for (int i = 0; i < timings_.graph_operations; ++i) {
      enqueue(static_cast<std::size_t>(i % timings_.sets));
    }
  }));
  std::vector<double> times;
  for (int replay = -kWarmReplays; replay < timings_.repeat; ++replay) {
    start_together(group_);
    recorder_->start();
    graphs_.back()->launch();
    recorder_->stop();
    stream_.synchronize();
    if (replay >= 0) times.push_back(recorder_->microseconds() / timings_.graph_operations);
    timings_.after_replay();
  }
  return times;
}

double GpuTimer::row(std::vector<double>& host, const Operation& call) {
  start_together(group_);
  recorder_->start();
  for (int i = 0; i < timings_.calls_in_a_row; ++i) {
    const auto set = static_cast<std::size_t>(i % timings_.sets);
    const Clock::time_point start = Clock::now();
    call(set);
    host.push_back(microseconds_since(start));
  }
  recorder_->stop();
  stream_.synchronize();
  return recorder_->microseconds() / timings_.calls_in_a_row;
}

std::vector<double> GpuTimer::launch_gap(int blocks) {
  return graph([&](std::size_t) { recorder_->launch_nothing(blocks); });
}

}  // namespace braid::app
