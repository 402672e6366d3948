#include "app/throughput_bench_gpu.hpp"

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "app/bench_case.hpp"
#include "app/gpu_timer.hpp"
#include "app/throughput_device_set.hpp"
#include "base/math.hpp"
#include "braid/high_throughput.hpp"
#include "runtime/group_backend.hpp"

namespace braid::app {
namespace {

constexpr int kGraphOperations = 6;  // at least: each takes hundreds of microseconds
constexpr int kCallsInARow = 8;

class GpuThroughputRank {
 public:
  GpuThroughputRank(Group& group, const BenchOptions& options, const BenchCase& bench,
                    const Progress& progress)
      : group_(group),
        options_(options),
        bench_(bench),
        progress_(progress),
        num_operations_(round_up(kGraphOperations, bench.sets)),
        sets_(make_sets()),
        buffer_(group, bench_throughput_options(options, bench)),
        handles_(sets_.size()),
        num_rows_(sets_.size()),
        stream_(group.make_stream()),
        timer_(group, stream_,
               {bench.sets, num_operations_, round_up(kCallsInARow, bench.sets), options.repeat,
                [this] { count_replay(); }}) {
    dispatch_.format = options.communication.dispatch;
    dispatch_.fill_tail = false;
    // All memory is there before the first rank waits in a kernel.
    group_.barrier();
  }

  RankResult run() {
    GpuTimes times;
    times.device = group_.backend().device().name();
    times.send_workers = times.receive_workers =
        sms_of(group_, options_.communication.resolved_workers());
    times.graph_operations = num_operations_;
    first_pass();
    // Calls first: a buffer whose operations were captured has no dispatch in place.
    check_in_place();
    time_calls(times);
    check_in_place();
    times.dispatch = time_graph(Leaves::kRows, [&](std::size_t set) { dispatch(set); });
    times.combine = time_graph(Leaves::kTokens, [&](std::size_t set) { combine(set); });
    time_layout(times);
    times.launch_gap = timer_.launch_gap(times.send_workers);
    pass_again();
    result_.gpu = std::move(times);
    result_.num_operations = 1;  // traffic isn't counted
    group_.barrier();
    return std::move(result_);
  }

 private:
  using Sets = std::vector<std::unique_ptr<ThroughputDeviceSet>>;

  Sets make_sets() const {
    Sets sets;
    for (int set = 0; set < bench_.sets; ++set) {
      sets.push_back(std::make_unique<ThroughputDeviceSet>(
          group_.backend().shared_device(), options_, bench_,
          bench_inputs(options_, bench_, group_.rank(), set)));
    }
    return sets;
  }

  void lay_out(std::size_t set, ThroughputHandle& handle) {
    handle = ThroughputHandle();
    handle = buffer_.layout(sets_[set]->topk_idx(), {}, stream_);
  }

  void dispatch(std::size_t set) {
    buffer_.dispatch(handles_[set], sets_[set]->dispatch_input(), sets_[set]->dispatch_output(),
                     dispatch_, stream_);
  }

  DispatchedRows dispatch_in_place(std::size_t set) {
    return buffer_.dispatch_in_place(handles_[set], sets_[set]->dispatch_input(), {}, dispatch_,
                                     stream_);
  }

  void combine(std::size_t set) {
    buffer_.combine(handles_[set], sets_[set]->combine_input(), sets_[set]->combine_output(), {},
                    stream_);
  }

  // Every set once, so that combine has rows to work on. What it leaves is what is verified, rows
  // against those that were sent.
  void first_pass() {
    for (std::size_t set = 0; set < sets_.size(); ++set) {
      lay_out(set, handles_[set]);
      const ReceivedCounts counts = buffer_.received(handles_[set]);
      num_rows_[set] = counts.num_rows;
      if (set == 0) result_.tokens_per_expert = counts.rows_per_expert;
      dispatch(set);
    }
    stream_.synchronize();
    for (std::size_t set = 0; set < sets_.size(); ++set) sets_[set]->decode_rows(num_rows_[set]);
    for (std::size_t set = 0; set < sets_.size(); ++set) combine(set);
    stream_.synchronize();
    result_.rows_as_sent = true;
    for (const int index : bench_.checked_sets()) {
      const auto set = static_cast<std::size_t>(index);
      const std::string& rows = received_.emplace_back(sets_[set]->received(num_rows_[set]));
      if (rows != sent_rows(options_, bench_, group_.rank(), index)) result_.rows_as_sent = false;
      result_.output += outputs_.emplace_back(sets_[set]->output());
    }
    group_.barrier();
  }

  // Rows where they arrive; read before the next operation writes there.
  void check_in_place() {
    const std::vector<int> checked = bench_.checked_sets();
    for (std::size_t i = 0; i < checked.size(); ++i) {
      const auto set = static_cast<std::size_t>(checked[i]);
      const DispatchedRows rows = dispatch_in_place(set);
      stream_.synchronize();
      if (sets_[set]->received(rows, num_rows_[set]) != received_[i]) {
        result_.repeats_equal = false;
      }
    }
    group_.barrier();
  }

  // Dispatch and combine of the checked sets by plain calls, on the handles as they now are.
  void pass_again() {
    poison(Leaves::kRows);
    poison(Leaves::kTokens);
    for (const int index : bench_.checked_sets()) {
      const auto set = static_cast<std::size_t>(index);
      dispatch(set);
      combine(set);
    }
    stream_.synchronize();
    compare(Leaves::kRows);
    compare(Leaves::kTokens);
    group_.barrier();
  }

  // What an operation, or a graph of them, has written when it has run.
  enum class Leaves { kRows, kTokens };

  // So that what a graph doesn't write is seen.
  void poison(Leaves leaves) {
    for (const int index : bench_.checked_sets()) {
      ThroughputDeviceSet& set = *sets_[static_cast<std::size_t>(index)];
      // The rows of BF16 are combine's input too.
      if (leaves == Leaves::kRows) set.poison_received();
      if (leaves == Leaves::kTokens) set.poison_output();
    }
    group_.barrier();
  }

  // With the first pass, bit by bit.
  void compare(Leaves leaves) {
    const std::vector<int> checked = bench_.checked_sets();
    for (std::size_t i = 0; i < checked.size(); ++i) {
      const auto index = static_cast<std::size_t>(checked[i]);
      const bool equal = leaves == Leaves::kRows
                             ? sets_[index]->received(num_rows_[index]) == received_[i]
                             : sets_[index]->output() == outputs_[i];
      result_.repeats_equal = result_.repeats_equal && equal;
    }
  }

  std::vector<double> time_graph(Leaves leaves, const GpuTimer::Operation& enqueue) {
    poison(leaves);
    std::vector<double> times = timer_.graph(enqueue);
    compare(leaves);
    group_.barrier();
    return times;
  }

  // Into handles of their own, on which a pass then shows that the tables are right.
  void time_layout(GpuTimes& times) {
    captured_.resize(sets_.size());
    times.layout = timer_.graph([&](std::size_t set) { lay_out(set, captured_[set]); });
    std::swap(handles_, captured_);
    pass_again();
    std::swap(handles_, captured_);
  }

  void time_calls(GpuTimes& times) {
    for (int replay = -GpuTimer::kWarmReplays; replay < options_.repeat; ++replay) {
      std::vector<double> unused;
      const bool counts = replay >= 0;
      const auto row = [&](std::vector<double>& device, std::vector<double>& host,
                           const GpuTimer::Operation& call) {
        const double time = timer_.row(counts ? host : unused, call);
        if (counts) device.push_back(time);
      };
      row(times.dispatch_in_place, times.dispatch_in_place_host,
          [&](std::size_t set) { dispatch_in_place(set); });
      row(times.dispatch_call, times.dispatch_host, [&](std::size_t set) { dispatch(set); });
      row(times.combine_call, times.combine_host, [&](std::size_t set) { combine(set); });
      count_replay();
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
  Sets sets_;
  HighThroughputBuffer buffer_;
  DispatchRowsOptions dispatch_;
  std::vector<ThroughputHandle> handles_, captured_;  // of the sets; of the graph of layouts
  std::vector<std::int64_t> num_rows_;                // that this rank receives of each set
  std::vector<std::string> received_, outputs_;       // of the first pass, the checked sets'
  RankResult result_;
  Stream stream_;
  GpuTimer timer_;
};

}  // namespace

RankResult run_gpu_throughput_rank(Group& group, const BenchOptions& options,
                                   const BenchCase& bench, const Progress& progress) {
  return GpuThroughputRank(group, options, bench, progress).run();
}

}  // namespace braid::app
