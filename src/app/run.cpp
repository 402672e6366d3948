#include "app/run.hpp"

#include <algorithm>

#include "app/limits.hpp"
#include "app/run_schedules.hpp"
#include "model/compare.hpp"
#include "model/reference.hpp"

namespace braid::app {
namespace {

std::vector<float> dense(const LayerCase& layer, const model::ReferenceOptions& options = {}) {
  return model::compute_reference(layer.layer, layer.hidden_states.data(), layer.num_tokens,
                                  options);
}

const std::vector<OperationTime>& own_times(const RankResult& result) {
  return result.operation_times;
}
const std::vector<OperationTime>& sequential_times(const RankResult& result) {
  return result.sequential->operation_times;
}

// Of the rank that ended last.
template <class Times>
Timeline last_timeline(const Schedule& schedule, const std::vector<RankResult>& results,
                       Times times) {
  std::vector<Timeline> all;
  for (std::size_t rank = 0; rank < results.size(); ++rank) {
    all.push_back(timeline(schedule, times(results[rank]), static_cast<int>(rank)));
  }
  return *std::max_element(all.begin(), all.end(), [](const Timeline& a, const Timeline& b) {
    return a.end_us() < b.end_us();
  });
}

void add_schedules(RunReport& report, const LayerCase& layer,
                   const std::vector<RankResult>& results) {
  if (report.options.communication.mode == Mode::kHighThroughput) return;
  const RunSchedules schedules = run_schedules(report.options, layer);
  report.split_agreed = results.front().split_agreed;
  if (!results.front().sequential) {
    report.timelines = {last_timeline(schedules.sequential, results, own_times)};
    return;
  }
  report.timelines = {last_timeline(schedules.sequential, results, sequential_times),
                      last_timeline(schedules.chosen, results, own_times)};
  report.sequential = SequentialReport{
      std::all_of(results.begin(), results.end(),
                  [](const RankResult& result) { return result.sequential->equal; }),
      median_times(results, [](const RankResult& result) -> const std::vector<StepTimes>& {
        return result.sequential->times;
      })};
}

}  // namespace

RunReport make_report(const RunOptions& options, const LayerCase& layer,
                      const std::vector<RankResult>& results) {
  const CommunicationOptions& communication = options.communication;
  Summary summary = summarize(results);
  RunReport report;
  report.options = options;
  report.options.tokens = static_cast<int>(layer.num_tokens);
  report.options.layer_index = layer.layer.index;
  report.shape = layer.shape;
  report.family = model::to_string(layer.layer.config.family);
  report.reference = layer.reference;
  report.repeats_equal = summary.repeats_equal;
  report.time = summary.time;
  report.traffic = summary.traffic;
  report.tokens_per_expert = std::move(summary.tokens_per_expert);
  report.output_sha256 = summary.output_sha256;

  const double reference_diff = layer.expected.empty()
                                    ? model::diff(summary.output, dense(layer))
                                    : model::diff(summary.output, layer.expected);
  report.comparisons.push_back(
      {layer.reference, reference_diff, reference_limit(communication, kFfnFp8Limit)});
  if (communication.dispatch != DispatchFormat::kBf16) {
    model::ReferenceOptions rounded;
    rounded.round_row = [format = communication.dispatch](const std::uint16_t* row,
                                                          std::int64_t hidden, float* seen) {
      round_row(format, row, static_cast<int>(hidden), seen);
    };
    report.comparisons.push_back({"dense_f32_rounded_tokens",
                                  model::diff(summary.output, dense(layer, rounded)),
                                  rounded_limit(communication)});
  }
  add_schedules(report, layer, results);
  // Elsewhere a row is rounded once more for each round that it is summed in.
  const bool as_sequential =
      !report.sequential || report.sequential->equal || !equals_sequential(communication);
  report.verified = all_hold(report.comparisons) && report.repeats_equal && as_sequential;
  return report;
}

}  // namespace braid::app
