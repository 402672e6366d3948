#include <algorithm>
#include <cmath>

#include "app/bench.hpp"
#include "app/bench_case.hpp"
#include "app/limits.hpp"
#include "app/stats.hpp"
#include "codec/bfloat16.hpp"
#include "model/compare.hpp"

namespace braid::app {
namespace {

bool is_plain_sum(const BenchOptions& options) {
  return options.communication.mode == Mode::kHighThroughput &&
         options.communication.backend == Backend::kCuda && !options.communication.expanded();
}

// What identity experts make of a token: the sum of its weights; in a bench of high throughput on
// GPUs by source, where nobody weighs, as often as it went to a rank.
float times_of(const BenchOptions& options, const BenchCase& bench, const Routing& routing,
               int token) {
  if (is_plain_sum(options)) {
    return static_cast<float>(ranks_of_token(options, bench, routing, token).size());
  }
  const auto top_k = static_cast<std::size_t>(bench.shape.top_k);
  float weight = 0;
  for (std::size_t i = static_cast<std::size_t>(token) * top_k, end = i + top_k; i < end; ++i) {
    if (routing.topk_idx[i] >= 0) weight += routing.topk_weights[i];
  }
  return weight;
}

// Each token, as `see` shows it, times what times_of() says; rank after rank.
template <class See>
std::vector<float> reference_sums(const BenchOptions& options, const BenchCase& bench, See see) {
  const auto hidden = static_cast<std::size_t>(bench.shape.hidden);
  std::vector<float> sums;
  std::vector<float> seen(hidden);
  for (int rank = 0; rank < options.communication.ranks; ++rank) {
    for (const int set : bench.checked_sets()) {
      const BenchInputs inputs = bench_inputs(options, bench, rank, set);
      for (int token = 0; token < options.tokens; ++token) {
        const float times = times_of(options, bench, inputs.routing, token);
        see(inputs.tokens.data() + static_cast<std::size_t>(token) * hidden, seen);
        for (const float value : seen) sums.push_back(times * value);
      }
    }
  }
  return sums;
}

double mean_bytes(const Traffic& traffic, int num_ranks) {
  return static_cast<double>(traffic.local.bytes + traffic.scale_up.bytes +
                             traffic.scale_out.bytes) /
         num_ranks;
}

Latency latency(const std::vector<double>& times, double bytes) {
  Latency latency{percentile(times, 0.5), percentile(times, 0.99), percentile(times, 1.0), 0};
  if (latency.p50 > 0) latency.gigabytes_per_second = bytes / latency.p50 / 1e3;
  return latency;
}

GpuReport gpu_report(const BenchCase& bench, const std::vector<RankResult>& results) {
  GpuReport report;
  report.sets = bench.sets;
  for (const RankResult& result : results) report.devices.push_back(result.gpu->device);
  report.graph_operations = results.front().gpu->graph_operations;
  report.send_workers = results.front().gpu->send_workers;
  report.receive_workers = results.front().gpu->receive_workers;
  for (const auto& [name, figure] : kGpuFigures) {
    if (((*results.front().gpu).*figure).empty()) continue;
    const std::vector<double> times = slowest(results, figure);
    report.figures.push_back(
        {name, percentile(times, 0.5), percentile(times, 0.99), percentile(times, 0.0)});
  }
  return report;
}

}  // namespace

BenchReport make_report(const BenchOptions& options, const BenchCase& bench,
                        const std::vector<RankResult>& results) {
  const CommunicationOptions& communication = options.communication;
  Summary summary = summarize(results);
  BenchReport report;
  report.options = options;
  report.options.top_k = bench.shape.top_k;
  report.repeats_equal = summary.repeats_equal;
  report.traffic = summary.traffic;
  report.tokens_per_expert = std::move(summary.tokens_per_expert);
  report.output_sha256 = summary.output_sha256;
  report.total_p50 = summary.time.total;
  report.dispatch = latency(slowest(results, &StepTimes::dispatch),
                            mean_bytes(report.traffic.dispatch, communication.ranks));
  report.combine = latency(slowest(results, &StepTimes::combine),
                           mean_bytes(report.traffic.combine, communication.ranks));

  if (communication.mode == Mode::kHighThroughput && !results.front().gpu) {
    report.layout = latency(slowest(results, &StepTimes::layout), 0);
  }
  if (results.front().gpu) report.gpu = gpu_report(bench, results);

  report.reference = is_plain_sum(options) ? "sum_of_ranks" : "weighted_sum";
  const auto as_given = [](const std::uint16_t* row, std::vector<float>& seen) {
    std::transform(row, row + seen.size(), seen.begin(), codec::bf16_to_float);
  };
  report.comparisons.push_back(
      {report.reference, model::diff(summary.output, reference_sums(options, bench, as_given)),
       reference_limit(communication, kIdentityFp8Limit)});
  if (communication.dispatch != DispatchFormat::kBf16) {
    const auto rounded = [&](const std::uint16_t* row, std::vector<float>& seen) {
      round_row(communication.dispatch, row, bench.shape.hidden, seen.data());
    };
    report.comparisons.push_back(
        {report.reference + "_rounded_tokens",
         model::diff(summary.output, reference_sums(options, bench, rounded)),
         rounded_limit(communication)});
  }
  if (summary.rows_as_sent) {
    report.comparisons.push_back({"sent_rows", *summary.rows_as_sent ? 0.0 : INFINITY, 0.0});
  }
  report.verified = all_hold(report.comparisons) && report.repeats_equal;
  return report;
}

}  // namespace braid::app
