#include "app/bench_gpu.hpp"

#include <algorithm>
#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "app/bench_case.hpp"
#include "app/device_set.hpp"
#include "app/operations.hpp"
#include "base/check.hpp"
#include "base/math.hpp"
#include "braid/buffer.hpp"
#include "machine/recorder.hpp"
#include "machine/stream_backend.hpp"
#include "runtime/group_backend.hpp"

namespace braid::app {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kGraphOperations = 96;  // at least: the start of a graph then counts for little
constexpr int kCallsInARow = 24;
constexpr int kWarmReplays = 5;

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

// A budget of 0 is as many SMs as the rank has.
int sms_of(Group& group, int budget) {
  if (budget != 0) return budget;
  const detail::DeviceBackend& device = group.backend().device();
  const auto places = group.all_gather(device.place());
  return device.num_workers() /
         static_cast<int>(std::count(places.begin(), places.end(), device.place()));
}

class GpuBenchRank {
 public:
  GpuBenchRank(Group& group, const BenchOptions& options, const BenchCase& bench,
               const Progress& progress)
      : group_(group),
        options_(options),
        bench_(bench),
        progress_(progress),
        num_operations_(round_up(kGraphOperations, bench.sets)),
        sets_(make_sets()),
        buffer_(group, bench_buffer_options(options, bench)),
        plain_(sets_.size()),
        stream_(group.make_stream()),
        recorder_(stream_.backend()->make_recorder()) {
    require(recorder_ != nullptr, "backend {} has no graphs to time",
            to_string(group.backend_kind()));
    // All memory is there before the first rank waits in a kernel.
    group_.barrier();
  }

  RankResult run() {
    GpuTimes times;
    times.device = group_.backend().device().name();
    times.send_workers = sms_of(group_, options_.communication.send_budget());
    times.receive_workers = sms_of(group_, options_.communication.receive_budget());
    times.graph_operations = num_operations_;
    first_pass();
    std::vector<Handle> handles(sets_.size()), pairs(sets_.size());
    times.dispatch =
        time_graph(Leaves::kRows, [&](std::size_t set) { dispatch(set, handles[set]); });
    times.combine =
        time_graph(Leaves::kTokens, [&](std::size_t set) { combine(set, plain_[set]); });
    times.pair = time_graph(Leaves::kBoth, [&](std::size_t set) {
      dispatch(set, pairs[set]);
      combine(set, pairs[set]);
    });
    const int blocks = std::max(times.send_workers, times.receive_workers);
    times.launch_gap =
        time_graph(Leaves::kNothing, [&](std::size_t) { recorder_->launch_nothing(blocks); });
    time_calls(times);
    last_pass();
    result_.gpu = std::move(times);
    result_.num_operations = 1;  // traffic isn't counted
    group_.barrier();
    return std::move(result_);
  }

 private:
  std::vector<std::unique_ptr<DeviceSet>> make_sets() const {
    std::vector<std::unique_ptr<DeviceSet>> sets;
    for (int set = 0; set < bench_.sets; ++set) {
      sets.push_back(
          std::make_unique<DeviceSet>(group_.backend().shared_device(), options_, bench_,
                                      bench_inputs(options_, bench_, group_.rank(), set)));
    }
    return sets;
  }

  // Into a handle whose last dispatch, if any, this one replaces: their slot is the same.
  void dispatch(std::size_t set, Handle& handle) {
    handle = Handle();
    handle = buffer_.dispatch(sets_[set]->dispatch_input(), sets_[set]->dispatch_output(),
                              dispatch_options(options_.communication), stream_);
  }

  void combine(std::size_t set, const Handle& handle) {
    buffer_.combine(handle, sets_[set]->combine_input(), sets_[set]->combine_output(),
                    combine_options(options_.communication), stream_);
  }

  // Every set once, so that combine has rows to work on. What it leaves is what is verified.
  void first_pass() {
    for (std::size_t set = 0; set < sets_.size(); ++set) dispatch(set, plain_[set]);
    stream_.synchronize();
    for (const auto& set : sets_) set->decode_rows();
    for (std::size_t set = 0; set < sets_.size(); ++set) combine(set, plain_[set]);
    stream_.synchronize();
    for (const int set : bench_.checked_sets()) {
      received_.push_back(sets_[static_cast<std::size_t>(set)]->received());
      result_.output += outputs_.emplace_back(sets_[static_cast<std::size_t>(set)]->output());
    }
    for (const std::int32_t count : sets_.front()->counts()) {
      result_.tokens_per_expert.push_back(count);
    }
    group_.barrier();
  }

  // Once more by plain calls, after everything that was timed.
  void last_pass() {
    poison(Leaves::kBoth);
    for (const int index : bench_.checked_sets()) {
      const auto set = static_cast<std::size_t>(index);
      dispatch(set, plain_[set]);
      combine(set, plain_[set]);
    }
    stream_.synchronize();
    compare(Leaves::kBoth);
  }

  // What an operation, or a graph of them, has written when it has run.
  enum class Leaves { kNothing, kRows, kTokens, kBoth };
  static bool leaves_rows(Leaves leaves) {
    return leaves == Leaves::kRows || leaves == Leaves::kBoth;
  }
  static bool leaves_tokens(Leaves leaves) {
    return leaves == Leaves::kTokens || leaves == Leaves::kBoth;
  }

  // So that what a graph doesn't write is seen; collective, since peers write rows too.
  void poison(Leaves leaves) {
    for (const int set : bench_.checked_sets()) {
      if (leaves_rows(leaves)) sets_[static_cast<std::size_t>(set)]->poison_received();
      if (leaves_tokens(leaves)) sets_[static_cast<std::size_t>(set)]->poison_output();
    }
    group_.barrier();
  }

  // With the first pass, bit by bit.
  void compare(Leaves leaves) {
    const std::vector<int> checked = bench_.checked_sets();
    for (std::size_t i = 0; i < checked.size(); ++i) {
      const DeviceSet& set = *sets_[static_cast<std::size_t>(checked[i])];
      const bool rows_equal = !leaves_rows(leaves) || set.received() == received_[i];
      const bool tokens_equal = !leaves_tokens(leaves) || set.output() == outputs_[i];
      result_.repeats_equal = result_.repeats_equal && rows_equal && tokens_equal;
    }
  }

  // Microseconds of one operation, replay by replay. Every set is used equally often.
  std::vector<double> time_graph(Leaves leaves, const std::function<void(std::size_t)>& enqueue) {
    poison(leaves);
    graphs_.push_back(recorder_->capture([&] {
      for (int i = 0; i < num_operations_; ++i) {
        enqueue(static_cast<std::size_t>(i % bench_.sets));
      }
    }));
    std::vector<double> times;
    for (int replay = -kWarmReplays; replay < options_.repeat; ++replay) {
      start_together(group_);
      recorder_->start();
      graphs_.back()->launch();
      recorder_->stop();
      stream_.synchronize();
      if (replay >= 0) times.push_back(recorder_->microseconds() / num_operations_);
      count_replay();
    }
    compare(leaves);
    group_.barrier();
    return times;
  }

  // Microseconds on the device of a call in a row of them; each call's on the host goes to `host`.
  double time_row(std::vector<double>& host, const std::function<void(std::size_t)>& call) {
    start_together(group_);
    recorder_->start();
    for (int i = 0; i < kCallsInARow; ++i) {
      const auto set = static_cast<std::size_t>(i % bench_.sets);
      const Clock::time_point start = Clock::now();
      call(set);
      host.push_back(microseconds_since(start));
    }
    recorder_->stop();
    stream_.synchronize();
    return recorder_->microseconds() / kCallsInARow;
  }

  void time_calls(GpuTimes& times) {
    for (int replay = -kWarmReplays; replay < options_.repeat; ++replay) {
      std::vector<double> unused;
      const bool counts = replay >= 0;
      const double dispatched = time_row(counts ? times.dispatch_host : unused,
                                         [&](std::size_t set) { dispatch(set, plain_[set]); });
      const double combined = time_row(counts ? times.combine_host : unused,
                                       [&](std::size_t set) { combine(set, plain_[set]); });
      count_replay();
      if (!counts) continue;
      times.dispatch_call.push_back(dispatched);
      times.combine_call.push_back(combined);
    }
  }

  void count_replay() {
    constexpr int kTimings = 5;  // four graphs, and the plain calls
    ++num_replays_;
    if (group_.rank() == 0 && progress_) {
      progress_(num_replays_, kTimings * (kWarmReplays + options_.repeat));
    }
  }

  Group& group_;
  const BenchOptions& options_;
  const BenchCase& bench_;
  const Progress& progress_;
  int num_operations_;
  int num_replays_ = 0;
  std::vector<std::unique_ptr<DeviceSet>> sets_;
  Buffer buffer_;
  std::vector<Handle> plain_;                    // of the sets' last plain dispatches
  std::vector<std::string> received_, outputs_;  // of the first pass, the checked sets'
  RankResult result_;
  Stream stream_;
  std::unique_ptr<detail::Recorder> recorder_;
  std::vector<std::shared_ptr<detail::Graph>> graphs_;  // until the end: dropping one may wait
};

}  // namespace

RankResult run_gpu_bench_rank(Group& group, const BenchOptions& options, const BenchCase& bench,
                              const Progress& progress) {
  return GpuBenchRank(group, options, bench, progress).run();
}

}  // namespace braid::app
