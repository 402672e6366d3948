// What one rank found, and how it travels from a rank that is a process of its own.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "app/report.hpp"
#include "braid/executor.hpp"

namespace braid::app {

// What a rank on a GPU measured: microseconds of one operation.
struct GpuTimes {
  std::string device;
  int send_workers = 0, receive_workers = 0;  // SMs
  int graph_operations = 0;                   // of a graph
  // Of each replay of a graph that holds nothing else, on the device's clock.
  std::vector<double> dispatch, combine, pair, launch_gap;
  // Of each row of plain calls, on the same clock; and on the host, of each call until it returned.
  std::vector<double> dispatch_call, combine_call, dispatch_host, combine_host;
  // High throughput's own: a graph of layouts, and plain dispatches without a copy.
  std::vector<double> layout, dispatch_in_place, dispatch_in_place_host;
};
// By their names in a report. A mode that lacks one has no times of it.
inline constexpr std::array<std::pair<const char*, std::vector<double> GpuTimes::*>, 11>
    kGpuFigures{{{"dispatch", &GpuTimes::dispatch},
                 {"dispatch_in_place", &GpuTimes::dispatch_in_place},
                 {"combine", &GpuTimes::combine},
                 {"pair", &GpuTimes::pair},
                 {"layout", &GpuTimes::layout},
                 {"launch_gap", &GpuTimes::launch_gap},
                 {"dispatch_call", &GpuTimes::dispatch_call},
                 {"combine_call", &GpuTimes::combine_call},
                 {"dispatch_host", &GpuTimes::dispatch_host},
                 {"dispatch_in_place_host", &GpuTimes::dispatch_in_place_host},
                 {"combine_host", &GpuTimes::combine_host}}};

// The same layer without overlap.
struct SequentialResult {
  bool equal = false;  // the same bits
  std::vector<StepTimes> times;
  std::vector<OperationTime> operation_times;  // of the last repeat
};

struct RankResult {
  std::vector<StepTimes> times;                 // of each timed repeat
  OperationTraffic traffic;                     // of all operations together
  int num_operations = 0;                       // dispatches, and as many combines
  std::vector<std::int64_t> tokens_per_expert;  // local experts, rows of one dispatch
  bool repeats_equal = true;
  std::optional<bool> rows_as_sent;  // where received rows were held against those that were sent
  std::string output;                // BF16 [n, hidden], as bytes
  // Of a schedule: the last repeat's, and what it is measured by, where that is another.
  std::vector<OperationTime> operation_times;
  std::optional<SequentialResult> sequential;
  bool split_agreed = true;  // two-batch overlap: the ranks agreed to split their batches
  std::optional<GpuTimes> gpu;
};

std::string serialize(const RankResult& result);
// Only for what serialize() returned.
RankResult deserialize(const std::string& bytes);

// All ranks' results together, in rank order.
struct Summary {
  // p50 over repeats of the slowest rank's time.
  StepTimes time;
  OperationTraffic traffic;  // of one operation
  std::vector<std::int64_t> tokens_per_expert;
  bool repeats_equal = true;
  std::optional<bool> rows_as_sent;  // on every rank, where they said
  std::string output_sha256;
  std::vector<float> output;  // [tokens, hidden]
};
Summary summarize(const std::vector<RankResult>& results);

// The slowest rank's time of one step, for each repeat.
std::vector<double> slowest(const std::vector<RankResult>& results, double StepTimes::*step);
// p50 of the same over repeats, with a rank's times from `times`.
using TimesOfRank = const std::vector<StepTimes>& (*)(const RankResult& result);
StepTimes median_times(const std::vector<RankResult>& results, TimesOfRank times);
// The same of a figure of GPUs, which every rank has.
std::vector<double> slowest(const std::vector<RankResult>& results,
                            std::vector<double> GpuTimes::*figure);

}  // namespace braid::app
