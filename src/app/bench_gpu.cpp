#include "app/bench_gpu.hpp"

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "app/bench_case.hpp"
#include "app/device_set.hpp"
#include "app/gpu_sets.hpp"
#include "app/gpu_timer.hpp"
#include "app/operations.hpp"
#include "base/math.hpp"
#include "braid/buffer.hpp"
#include "runtime/group_backend.hpp"

namespace braid::app {
namespace {

constexpr int kGraphOperations = 96;  // at least: the start of a graph then counts for little
constexpr int kCallsInARow = 24;
constexpr int kTimings = 5;  // four graphs, and the plain calls

class GpuBenchRank {
 public:
  GpuBenchRank(Group& group, const BenchOptions& options, const BenchCase& bench,
               const Progress& progress)
      : group_(group),
        options_(options),
        num_operations_(round_up(kGraphOperations, bench.sets)),
        replays_(group, progress, kTimings * (GpuTimer::kWarmReplays + options.repeat)),
        sets_(group, options, bench,
              [&](const BenchInputs& inputs) {
                return std::make_unique<DeviceSet>(group.backend().shared_device(), options, bench,
                                                   inputs);
              }),
        buffer_(group, bench_buffer_options(options, bench)),
        plain_(sets_.size()),
        stream_(group.make_stream()),
        timer_(group, stream_, {bench.sets, num_operations_, kCallsInARow, options.repeat, [this] {
                                  replays_.count();
                                }}) {
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
    times.launch_gap = timer_.launch_gap(std::max(times.send_workers, times.receive_workers));
    time_calls(times);
    last_pass();
    result_.gpu = std::move(times);
    result_.repeats_equal = sets_.all_equal();
    result_.num_operations = 1;  // traffic isn't counted
    group_.barrier();
    return std::move(result_);
  }

 private:
  std::vector<double> time_graph(Leaves leaves, const GpuTimer::Operation& enqueue) {
    return sets_.time_graph(timer_, leaves, enqueue);
  }

  // Into a handle whose last dispatch, if any, this one replaces: their slot is the same.
  void dispatch(std::size_t set, Handle& handle) {
    handle = Handle();
    handle = buffer_.dispatch(sets_[set].dispatch_input(), sets_[set].dispatch_output(),
                              dispatch_options(options_.communication), stream_);
  }

  void combine(std::size_t set, const Handle& handle) {
    buffer_.combine(handle, sets_[set].combine_input(), sets_[set].combine_output(),
                    combine_options(options_.communication), stream_);
  }

  // Every set once, so that combine has rows to work on. What it leaves is what is verified.
  void first_pass() {
    for (std::size_t set = 0; set < sets_.size(); ++set) dispatch(set, plain_[set]);
    stream_.synchronize();
    for (std::size_t set = 0; set < sets_.size(); ++set) sets_[set].decode_rows();
    for (std::size_t set = 0; set < sets_.size(); ++set) combine(set, plain_[set]);
    stream_.synchronize();
    result_.output = sets_.keep();
    for (const std::int32_t count : sets_[0].counts()) result_.tokens_per_expert.push_back(count);
    group_.barrier();
  }

  // Once more by plain calls, after everything that was timed.
  void last_pass() {
    sets_.poison(Leaves::kBoth);
    for (const std::size_t set : sets_.checked()) {
      dispatch(set, plain_[set]);
      combine(set, plain_[set]);
    }
    stream_.synchronize();
    sets_.compare(Leaves::kBoth);
  }

  void time_calls(GpuTimes& times) {
    for (int replay = -GpuTimer::kWarmReplays; replay < options_.repeat; ++replay) {
      std::vector<double> unused;
      const bool counts = replay >= 0;
      const double dispatched = timer_.row(counts ? times.dispatch_host : unused,
                                           [&](std::size_t set) { dispatch(set, plain_[set]); });
      const double combined = timer_.row(counts ? times.combine_host : unused,
                                         [&](std::size_t set) { combine(set, plain_[set]); });
      replays_.count();
      if (!counts) continue;
      times.dispatch_call.push_back(dispatched);
      times.combine_call.push_back(combined);
    }
  }

  Group& group_;
  const BenchOptions& options_;
  int num_operations_;
  ReplayCount replays_;
  GpuSets<DeviceSet> sets_;
  Buffer buffer_;
  std::vector<Handle> plain_;  // of the sets' last plain dispatches
  RankResult result_;
  Stream stream_;
  GpuTimer timer_;
};

}  // namespace

RankResult run_gpu_bench_rank(Group& group, const BenchOptions& options, const BenchCase& bench,
                              const Progress& progress) {
  return GpuBenchRank(group, options, bench, progress).run();
}

}  // namespace braid::app
