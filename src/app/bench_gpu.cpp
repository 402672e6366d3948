#include "app/bench_gpu.hpp"

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "app/bench_case.hpp"
#include "app/device_set.hpp"
#include "app/gpu_timer.hpp"
#include "app/operations.hpp"
#include "base/math.hpp"
#include "braid/buffer.hpp"
#include "runtime/group_backend.hpp"

namespace braid::app {
namespace {

constexpr int kGraphOperations = 96;  // at least: the start of a graph then counts for little
constexpr int kCallsInARow = 24;

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
        timer_(group, stream_, {bench.sets, num_operations_, kCallsInARow, options.repeat, [this] {
                                  count_replay();
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
  enum class Leaves { kRows, kTokens, kBoth };
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
  std::vector<double> time_graph(Leaves leaves, const GpuTimer::Operation& enqueue) {
    poison(leaves);
    std::vector<double> times = timer_.graph(enqueue);
    compare(leaves);
    group_.barrier();
    return times;
  }

  void time_calls(GpuTimes& times) {
    for (int replay = -GpuTimer::kWarmReplays; replay < options_.repeat; ++replay) {
      std::vector<double> unused;
      const bool counts = replay >= 0;
      const double dispatched = timer_.row(counts ? times.dispatch_host : unused,
                                           [&](std::size_t set) { dispatch(set, plain_[set]); });
      const double combined = timer_.row(counts ? times.combine_host : unused,
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
      progress_(num_replays_, kTimings * (GpuTimer::kWarmReplays + options_.repeat));
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
  GpuTimer timer_;
};

}  // namespace

RankResult run_gpu_bench_rank(Group& group, const BenchOptions& options, const BenchCase& bench,
                              const Progress& progress) {
  return GpuBenchRank(group, options, bench, progress).run();
}

}  // namespace braid::app
