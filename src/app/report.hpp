// What run and bench found, as plain values; the faces print it.
#pragma once

#include <cmath>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "app/options.hpp"
#include "braid/buffer.hpp"
#include "executor/timeline.hpp"

namespace braid::app {

// One result held against one reference.
struct Comparison {
  std::string name;
  // model::diff, infinite where a value is not finite; of bytes 0 where they are equal, else
  // infinite
  double diff = NAN;
  double limit = 0;
  bool holds() const { return diff <= limit; }  // false for NaN
};

// Microseconds of a layer's steps; layout in high throughput.
struct StepTimes {
  double gate = 0, dispatch = 0, experts = 0, combine = 0, shared = 0, total = 0, layout = 0;
};

// What one operation moved, of all ranks together.
struct OperationTraffic {
  Traffic dispatch, combine;
};

// What a schedule is measured by: the same operations without overlap, in the same process.
struct SequentialReport {
  bool equal = false;  // the schedule gave the same bits, on every rank
  StepTimes time;      // p50 over repeats of the slowest rank
};

struct RunReport {
  RunOptions options;  // as it ran: tokens and layer_index filled in
  LayerShape shape;
  std::string family;
  bool verified = false;
  std::string reference;  // what the first comparison is with
  std::vector<Comparison> comparisons;
  bool repeats_equal = false;  // every repeat gave the same bits
  StepTimes time;              // p50 over repeats of the slowest rank
  OperationTraffic traffic;
  std::vector<std::int64_t> tokens_per_expert;
  std::string output_sha256;
  std::optional<SequentialReport> sequential;  // where the schedule is another
  bool split_agreed = true;  // two-batch overlap: false where sequential ran in its place
  // Of the rank that ended last, in the last repeat: sequential, then the schedule where that is
  // another. None in high throughput.
  std::vector<Timeline> timelines;
};

// Microseconds; of each iteration the slowest rank counts.
struct Latency {
  double p50 = 0, p99 = 0, max = 0;
  double gigabytes_per_second = 0;  // of one rank: its mean bytes, to itself too, over p50
};

// Microseconds of one operation on GPUs; of each replay or call the slowest rank counts.
struct GpuFigure {
  std::string name;  // as in kGpuFigures; those that the mode has
  double p50 = 0, p99 = 0, min = 0;
};

struct GpuReport {
  std::vector<std::string> devices;           // of each rank
  int sets = 0;                               // that operations took in turn
  int graph_operations = 0;                   // of one replay
  int send_workers = 0, receive_workers = 0;  // SMs; high throughput: of an operation, both
  std::vector<GpuFigure> figures;
};

struct BenchReport {
  BenchOptions options;  // as it ran: top_k filled in
  bool verified = false;
  std::string reference;
  std::vector<Comparison> comparisons;
  bool repeats_equal = false;
  Latency dispatch, combine;
  std::optional<Latency> layout;  // in high throughput, whose dispatch and combine are on a handle
  double total_p50 = 0;
  std::optional<GpuReport> gpu;  // instead of the latencies above and the traffic
  OperationTraffic traffic;
  std::vector<std::int64_t> tokens_per_expert;
  std::string output_sha256;
};

}  // namespace braid::app
