#include "app/throughput_bench_gpu.hpp"

#include <memory>
#include <utility>
#include <vector>

#include "app/bench_case.hpp"
#include "app/gpu_sets.hpp"
#include "app/gpu_timer.hpp"
#include "app/sent_rows.hpp"
#include "app/throughput_device_set.hpp"
#include "base/math.hpp"
#include "braid/high_throughput.hpp"
#include "runtime/group_backend.hpp"

namespace braid::app {
namespace {

constexpr int kGraphOperations = 6;  // at least: each takes hundreds of microseconds
constexpr int kCallsInARow = 8;
constexpr int kTimings = 5;  // four graphs, and the plain calls

class GpuThroughputRank {
 public:
  GpuThroughputRank(Group& group, const BenchOptions& options, const BenchCase& bench,
                    const Progress& progress)
      : group_(group),
        options_(options),
        bench_(bench),
        num_operations_(round_up(kGraphOperations, bench.sets)),
        replays_(group, progress, kTimings * (GpuTimer::kWarmReplays + options.repeat)),
        sets_(group, options, bench,
              [&](const BenchInputs& inputs) {
                return make_throughput_set(group.backend().shared_device(), options, bench, inputs);
              }),
        buffer_(group, bench_throughput_options(options, bench)),
        handles_(sets_.size()),
        stream_(group.make_stream()),
        timer_(group, stream_,
               {bench.sets, num_operations_, round_up(kCallsInARow, bench.sets), options.repeat,
                [this] { replays_.count(); }}) {
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
    if (has_in_place()) check_in_place();
    time_calls(times);
    if (has_in_place()) check_in_place();
    times.dispatch = time_graph(Leaves::kRows, [&](std::size_t set) { dispatch(set); });
    times.combine = time_graph(Leaves::kTokens, [&](std::size_t set) { combine(set); });
    time_layout(times);
    times.launch_gap = timer_.launch_gap(times.send_workers);
    pass_again(Outputs::kExact);
    result_.gpu = std::move(times);
    result_.repeats_equal = result_.repeats_equal && sets_.all_equal();
    result_.num_operations = 1;  // traffic isn't counted
    group_.barrier();
    return std::move(result_);
  }

 private:
  // Rows by expert have no place before they are copied there.
  bool has_in_place() const { return !options_.communication.expanded(); }

  ThroughputCall call(std::size_t set) { return {buffer_, handles_[set], stream_}; }
  void lay_out(std::size_t set, ThroughputHandle& handle) {
    handle = ThroughputHandle();
    handle = sets_[set].lay_out(buffer_, stream_);
  }
  void dispatch(std::size_t set, Outputs outputs = Outputs::kExact) {
    sets_[set].dispatch(call(set), outputs);
  }
  void combine(std::size_t set, Outputs outputs = Outputs::kExact) {
    sets_[set].combine(call(set), outputs);
  }
  std::vector<double> time_graph(Leaves leaves, const GpuTimer::Operation& enqueue) {
    return sets_.time_graph(timer_, leaves, enqueue);
  }

  // Every set once, so that combine has rows to work on. What it leaves is what is verified, rows
  // against those that were sent.
  void first_pass() {
    for (std::size_t set = 0; set < sets_.size(); ++set) {
      lay_out(set, handles_[set]);
      const ReceivedCounts counts = buffer_.received(handles_[set]);
      sets_[set].set_counts(counts);
      if (set == 0) result_.tokens_per_expert = counts.rows_per_expert;
      dispatch(set);
    }
    stream_.synchronize();
    for (std::size_t set = 0; set < sets_.size(); ++set) sets_[set].decode_rows();
    for (std::size_t set = 0; set < sets_.size(); ++set) combine(set);
    stream_.synchronize();
    result_.output = sets_.keep();
    result_.rows_as_sent = true;
    for (std::size_t i = 0; i < sets_.checked().size(); ++i) {
      const auto set = static_cast<int>(sets_.checked()[i]);
      if (sets_.kept_rows(i) != sent_rows(options_, bench_, group_.rank(), set)) {
        result_.rows_as_sent = false;
      }
    }
    group_.barrier();
  }

  // Rows where they arrive; read before the next operation writes there.
  void check_in_place() {
    for (std::size_t i = 0; i < sets_.checked().size(); ++i) {
      const std::size_t set = sets_.checked()[i];
      const DispatchedRows rows = sets_[set].dispatch_in_place(call(set));
      stream_.synchronize();
      if (sets_[set].received_in_place(rows) != sets_.kept_rows(i)) result_.repeats_equal = false;
    }
    group_.barrier();
  }

  // Dispatch and combine of the checked sets by plain calls, on the handles as they now are.
  void pass_again(Outputs outputs) {
    sets_.poison(Leaves::kBoth);
    for (const std::size_t set : sets_.checked()) {
      dispatch(set, outputs);
      combine(set, outputs);
    }
    stream_.synchronize();
    sets_.compare(Leaves::kBoth);
    group_.barrier();
  }

  // Into handles of their own, on which a pass then shows that the tables are right.
  void time_layout(GpuTimes& times) {
    captured_.resize(sets_.size());
    times.layout = timer_.graph([&](std::size_t set) { lay_out(set, captured_[set]); });
    std::swap(handles_, captured_);
    pass_again(Outputs::kWorstCase);
    std::swap(handles_, captured_);
  }

  void time_calls(GpuTimes& times) {
    for (int replay = -GpuTimer::kWarmReplays; replay < options_.repeat; ++replay) {
      std::vector<double> unused;
      const bool counts = replay >= 0;
      const auto row = [&](std::vector<double>& device, std::vector<double>& host,
                           const GpuTimer::Operation& operation) {
        const double time = timer_.row(counts ? host : unused, operation);
        if (counts) device.push_back(time);
      };
      if (has_in_place()) {
        row(times.dispatch_in_place, times.dispatch_in_place_host,
            [&](std::size_t set) { sets_[set].dispatch_in_place(call(set)); });
      }
      row(times.dispatch_call, times.dispatch_host, [&](std::size_t set) { dispatch(set); });
      row(times.combine_call, times.combine_host, [&](std::size_t set) { combine(set); });
      replays_.count();
    }
  }

  Group& group_;
  const BenchOptions& options_;
  const BenchCase& bench_;
  int num_operations_;
  ReplayCount replays_;
  GpuSets<ThroughputDeviceSet> sets_;
  HighThroughputBuffer buffer_;
  std::vector<ThroughputHandle> handles_, captured_;  // of the sets; of the graph of layouts
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
