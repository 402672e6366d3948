// What the command line tool is asked to do, as plain values, and the checks that need no file.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "app/schedules.hpp"
#include "braid/buffer.hpp"
#include "braid/device.hpp"
#include "braid/high_throughput.hpp"
#include "braid/topology.hpp"

namespace braid::app {

enum class Mode : std::uint8_t { kLowLatency, kHighThroughput };
const char* to_string(Mode mode) noexcept;  // "low_latency", "high_throughput"
Mode parse_mode(const std::string& text);   // throws kInvalidArgument listing what there is

// How the rows that a rank receives stand: as they came, or each once for each of its experts.
enum class RowOrder : std::uint8_t { kBySource, kByExpert };
const char* to_string(RowOrder rows) noexcept;  // "source", "expert"
RowOrder parse_rows(const std::string& text);   // throws kInvalidArgument listing what there is
constexpr RowOrder default_rows(Mode mode) {
  return mode == Mode::kLowLatency ? RowOrder::kByExpert : RowOrder::kBySource;
}

// Of an expert's rows, what contiguous grouped GEMMs take.
inline constexpr int kDefaultAlignment = 128;

// How tokens travel; shared by run and bench.
struct CommunicationOptions {
  Backend backend = Backend::kCpu;
  std::vector<int> devices;  // kCuda: of each rank; none: rank modulo their number
  int ranks = 8;
  int ranks_per_node = 0;  // 0: all ranks on one node
  bool processes = false;  // ranks are processes, not threads
  // Set where this process is one of those ranks, as its environment says: the descriptor that a
  // failure is told to.
  std::optional<int> launched;
  Mode mode = Mode::kLowLatency;
  FanOut fan_out = FanOut::kAuto;
  std::optional<RowOrder> rows_given;  // none: the mode's default
  std::optional<int> alignment_given;  // of an expert's rows, of high throughput by expert
  std::optional<Reduce> reduce_given;  // none: the mode's default
  DispatchFormat dispatch = DispatchFormat::kFp8;
  ScaleLayout scales = ScaleLayout::kRowMajor;
  CombineFormat combine = CombineFormat::kBf16;
  int rounds = 1;
  bool rounds_given = false;
  // The SM budget of a phase: threads on the CPU, SMs on CUDA. 0: one thread, all of a rank's SMs.
  int workers = 0;
  std::optional<int> send_workers, receive_workers;  // none: workers
  std::uint64_t seed = 1;
  int timeout_seconds = 30;

  Topology topology() const { return {ranks, ranks_per_node == 0 ? ranks : ranks_per_node}; }
  int resolved(int budget) const { return budget == 0 && backend == Backend::kCpu ? 1 : budget; }
  int resolved_workers() const { return resolved(workers); }
  int send_budget() const { return resolved(send_workers.value_or(workers)); }
  int receive_budget() const { return resolved(receive_workers.value_or(workers)); }
  RowOrder rows() const { return rows_given.value_or(default_rows(mode)); }
  // Of the rows that high throughput has by expert: HighThroughputBuffer's expanded form.
  bool expanded() const { return mode == Mode::kHighThroughput && rows() == RowOrder::kByExpert; }
  // 1 where nothing is padded.
  int alignment() const { return alignment_given.value_or(expanded() ? kDefaultAlignment : 1); }
  Reduce reduce() const {
    const Reduce standard = mode == Mode::kLowLatency ? Reduce::kTokenRank : Reduce::kExpertRank;
    return reduce_given.value_or(standard);
  }
  // How a bench on GPUs gives the tokens: high throughput's as they travel, quantized beforehand.
  DispatchFormat gpu_input() const {
    return mode == Mode::kHighThroughput ? dispatch : DispatchFormat::kBf16;
  }
  // What "auto" becomes.
  FanOut resolved_fan_out() const { return fan_out == FanOut::kAuto ? FanOut::kPerRank : fan_out; }
};

// The rows behind a signal that a run's experts raise, a multiple of 16 up to 256.
inline constexpr int kRunBlockRows = 32;

struct RunOptions {
  CommunicationOptions communication;
  // Workers are what elsewhere are SMs. Rounds: those of `communication`.
  ScheduleOptions overlap{.schedule = "", .block_rows = kRunBlockRows, .program = "", .layers = 1};
  std::string layer;               // a checkpoint directory
  std::optional<int> layer_index;  // none: its first MoE layer
  int tokens = 0;  // in all; 0: every input, or 64 random tokens where there is none
  int repeat = 1;
};

inline constexpr int kDefaultTopK = 8;

struct BenchOptions {
  CommunicationOptions communication;
  int hidden = 2048;
  int experts = 64;
  int top_k = 0;                    // 0: that of a recorded routing, else kDefaultTopK
  std::string routing = "uniform";  // uniform, zipf, or a safetensors file with topk_idx
  int tokens = 128;                 // on each rank
  int repeat = 50;
  int sets = 0;  // kCuda: inputs and outputs that operations rotate through; 0: more than L2 holds
};

struct PlanOptions {
  Mode mode = Mode::kLowLatency;
  Topology topology{8, 0};
  BufferOptions buffer;
  FanOut fan_out = FanOut::kAuto;
  std::optional<RowOrder> rows_given;  // none: the mode's default
  RowOrder rows() const { return rows_given.value_or(default_rows(mode)); }

  // kHighThroughput: what applies of `buffer`, with that mode's default depth.
  HighThroughputOptions high_throughput() const;
  std::optional<int> depth;  // none: the mode's default
};

// Everything that can be told from these numbers alone, in the words of the command line: E and R,
// R and P, rounds, top-k, H and the formats. Throws kInvalidArgument.
struct LayerShape {
  int hidden = 0;
  int experts = 0;
  int top_k = 0;
};
void check(const CommunicationOptions& options);
void check(const CommunicationOptions& options, const LayerShape& shape);
void check(const PlanOptions& options);
// run computes experts on the CPU. Throws kMissing for another backend.
void check(const RunOptions& options);

// The buffer for max_tokens tokens on each rank.
BufferOptions buffer_options(const CommunicationOptions& options, const LayerShape& shape,
                             int max_tokens);

// kHighThroughput's.
HighThroughputOptions throughput_options(const CommunicationOptions& options,
                                         const LayerShape& shape, int max_tokens);

// Rows by expert that one rank may receive, padded, where nothing is known of the routing.
std::int64_t expanded_capacity(const CommunicationOptions& options, const LayerShape& shape,
                               int max_tokens);

// Throws kInvalidArgument where they are more than a buffer counts.
void check_alignment(const CommunicationOptions& options, const LayerShape& shape, int max_tokens);

// Throws what the mode's buffer for max_tokens tokens on each rank would, without making one.
void check_buffer(const CommunicationOptions& options, const LayerShape& shape, int max_tokens);

// Parses the value that has one choice in this version. Throws kInvalidArgument for any other.
void check_path(const std::string& path);

// The hidden option of a process that was started to be one rank.
inline constexpr const char* kLaunchedOption = "--launched-as-rank";
inline constexpr const char* kPath = "direct";

}  // namespace braid::app
