#include "app/options.hpp"

#include <limits>

#include "base/check.hpp"
#include "codec/row.hpp"
#include "layout/throughput.hpp"

namespace braid::app {
namespace {

constexpr int kMaxTopK = 32;

void check_hidden(int hidden, int multiple, const char* option, const char* format) {
  require(hidden >= 1 && hidden % multiple == 0,
          "the hidden size is {}, but must be a multiple of {} for {} {}", hidden, multiple, option,
          format);
}

// What high throughput has one choice of, or none yet.
void check_high_throughput(const CommunicationOptions& options) {
  const auto only = [](bool holds, const char* option, const char* value, const char* allowed) {
    require(holds, "{} is {}, but --mode high_throughput offers {} only", option, value, allowed);
  };
  const Topology topology = options.topology();
  require(topology.num_nodes() == 1,
          "--ranks-per-node is {} of {} ranks, but --mode high_throughput is for one node",
          topology.ranks_per_node, topology.num_ranks);
  only(options.resolved_fan_out() == FanOut::kPerRank, "--fan-out", to_string(options.fan_out),
       "per_rank");
  only(options.reduce() == Reduce::kExpertRank, "--reduce", to_string(options.reduce()),
       "expert_rank");
  only(options.dispatch == DispatchFormat::kBf16 || options.dispatch == DispatchFormat::kFp8,
       "--dispatch", to_string(options.dispatch), "bf16 and fp8");
  only(options.scales == ScaleLayout::kRowMajor, "--scales", to_string(options.scales), "row");
  only(options.combine == CombineFormat::kBf16, "--combine", to_string(options.combine), "bf16");
  require(options.rounds == 1, "--rounds is {}, but --mode high_throughput has one",
          options.rounds);
  require(!options.send_workers && !options.receive_workers,
          "--send-workers or --receive-workers is given, but an operation of --mode "
          "high_throughput sends and receives at once: --workers is its budget");
}

}  // namespace

const char* to_string(Mode mode) noexcept {
  return mode == Mode::kLowLatency ? "low_latency" : "high_throughput";
}

Mode parse_mode(const std::string& text) {
  for (const Mode mode : {Mode::kLowLatency, Mode::kHighThroughput}) {
    if (text == to_string(mode)) return mode;
  }
  fail(ErrorCode::kInvalidArgument, "--mode is '{}', but must be low_latency or high_throughput",
       text);
}

const char* to_string(RowOrder rows) noexcept {
  return rows == RowOrder::kBySource ? "source" : "expert";
}

RowOrder parse_rows(const std::string& text) {
  for (const RowOrder rows : {RowOrder::kBySource, RowOrder::kByExpert}) {
    if (text == to_string(rows)) return rows;
  }
  fail(ErrorCode::kInvalidArgument, "--rows is '{}', but must be source or expert", text);
}

HighThroughputOptions PlanOptions::high_throughput() const {
  HighThroughputOptions options;
  options.num_experts = buffer.num_experts;
  options.max_tokens = buffer.max_tokens;
  options.hidden = buffer.hidden;
  options.top_k = buffer.top_k;
  options.depth = depth.value_or(options.depth);
  options.expanded = rows() == RowOrder::kByExpert;
  options.widest_dispatch = buffer.widest_dispatch;
  return options;
}

void check(const CommunicationOptions& options) {
  if (options.mode == Mode::kHighThroughput) check_high_throughput(options);
  require(options.mode == Mode::kHighThroughput || options.rows() == RowOrder::kByExpert,
          "--rows is {}, but --mode low_latency has its rows by expert", to_string(options.rows()));
  require(!options.alignment_given || options.expanded(),
          "--alignment is {}, but is for --mode high_throughput --rows expert",
          options.alignment());
  const Topology topology = options.topology();
  require(options.ranks >= 1, "--ranks is {}, but must be at least 1", options.ranks);
  require(topology.ranks_per_node >= 1 && topology.ranks_per_node <= options.ranks &&
              options.ranks % topology.ranks_per_node == 0,
          "--ranks-per-node is {}, but must be from 1 to {} and divide --ranks {}",
          topology.ranks_per_node, options.ranks, options.ranks);
  require(options.devices.empty() || options.backend == Backend::kCuda,
          "--devices names {} CUDA devices, but --backend is {}", options.devices.size(),
          to_string(options.backend));
  require(options.devices.empty() || static_cast<int>(options.devices.size()) == options.ranks,
          "--devices names {} CUDA devices, but must name one for each of the {} ranks",
          options.devices.size(), options.ranks);
}

void check(const CommunicationOptions& options, const LayerShape& shape) {
  check(options);
  require(shape.experts >= options.ranks && shape.experts % options.ranks == 0,
          "--ranks is {}, but must divide the number of experts, {}", options.ranks, shape.experts);
  const int local = shape.experts / options.ranks;
  require(options.rounds >= 1 && options.rounds <= local && local % options.rounds == 0,
          "--rounds is {}, but must divide the {} experts of a rank ({} experts on {} ranks)",
          options.rounds, local, shape.experts, options.ranks);
  require(shape.top_k >= 1 && shape.top_k <= kMaxTopK && shape.top_k <= shape.experts,
          "top-k is {}, but must be from 1 to {} and at most the number of experts, {}",
          shape.top_k, kMaxTopK, shape.experts);
  check_hidden(shape.hidden, codec::hidden_multiple(options.dispatch), "--dispatch",
               to_string(options.dispatch));
  check_hidden(shape.hidden, codec::hidden_multiple(options.combine), "--combine",
               to_string(options.combine));
}

void check(const PlanOptions& options) {
  CommunicationOptions communication;
  communication.ranks = options.topology.num_ranks;
  communication.ranks_per_node = options.topology.ranks_per_node;
  communication.dispatch = options.buffer.widest_dispatch;
  communication.rounds = options.buffer.max_rounds;
  communication.mode = options.mode;
  communication.rows_given = options.rows_given;
  communication.fan_out = options.fan_out;
  require(options.mode == Mode::kLowLatency || !options.buffer.combine_regions,
          "--combine-regions is given, but --mode high_throughput has none");
  check(communication, {options.buffer.hidden, options.buffer.num_experts, options.buffer.top_k});
}

void check(const RunOptions& options) {
  if (options.communication.backend == Backend::kCpu) return;
  fail(ErrorCode::kMissing,
       "--backend is {}, but run computes the experts on the CPU only so far; bench takes both",
       to_string(options.communication.backend));
}

BufferOptions buffer_options(const CommunicationOptions& options, const LayerShape& shape,
                             int max_tokens) {
  BufferOptions buffer;
  buffer.num_experts = shape.experts;
  buffer.max_tokens = max_tokens;
  buffer.hidden = shape.hidden;
  buffer.top_k = shape.top_k;
  buffer.max_rounds = options.rounds;
  buffer.allow_per_expert = options.resolved_fan_out() == FanOut::kPerExpert;
  buffer.widest_dispatch = options.dispatch;
  return buffer;
}

HighThroughputOptions throughput_options(const CommunicationOptions& options,
                                         const LayerShape& shape, int max_tokens) {
  HighThroughputOptions buffer;
  buffer.num_experts = shape.experts;
  buffer.max_tokens = max_tokens;
  buffer.hidden = shape.hidden;
  buffer.top_k = shape.top_k;
  buffer.workers = options.resolved_workers();
  buffer.expanded = options.expanded();
  buffer.widest_dispatch = options.dispatch;
  return buffer;
}

std::int64_t expanded_capacity(const CommunicationOptions& options, const LayerShape& shape,
                               int max_tokens) {
  layout::ThroughputShape buffer;
  buffer.num_ranks = options.ranks;
  buffer.num_experts = shape.experts;
  buffer.max_tokens = max_tokens;
  buffer.top_k = shape.top_k;
  return buffer.expanded_capacity(options.alignment());
}

void check_alignment(const CommunicationOptions& options, const LayerShape& shape, int max_tokens) {
  if (!options.expanded()) return;
  const std::int64_t rows = expanded_capacity(options, shape, max_tokens);
  require(rows <= std::numeric_limits<std::int32_t>::max(),
          "--alignment is {}, but a rank would have room for {} rows, more than 31 bits count",
          options.alignment(), rows);
}

void check_buffer(const CommunicationOptions& options, const LayerShape& shape, int max_tokens) {
  check_alignment(options, shape, max_tokens);
  if (options.mode == Mode::kHighThroughput) {
    HighThroughputBuffer::plan(options.topology(), throughput_options(options, shape, max_tokens));
  } else {
    Buffer::plan(options.topology(), buffer_options(options, shape, max_tokens));
  }
}

void check_path(const std::string& path) {
  require(path == kPath, "--path is '{}', but this version offers {} only", path, kPath);
}

}  // namespace braid::app
