#include "app/options.hpp"

#include "base/check.hpp"
#include "codec/row.hpp"

namespace braid::app {
namespace {

constexpr int kMaxTopK = 32;

void check_hidden(int hidden, int multiple, const char* option, const char* format) {
  require(hidden >= 1 && hidden % multiple == 0,
          "the hidden size is {}, but must be a multiple of {} for {} {}", hidden, multiple, option,
          format);
}

}  // namespace

void check(const CommunicationOptions& options) {
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

void check_mode(const std::string& mode) {
  require(mode == kMode, "--mode is '{}', but this version offers {} only", mode, kMode);
}

void check_path(const std::string& path) {
  require(path == kPath, "--path is '{}', but this version offers {} only", path, kPath);
}

}  // namespace braid::app
