#include <limits>

#include "base/check.hpp"
#include "codec/row.hpp"
#include "runtime/shape.hpp"
#include "runtime/throughput_checks.hpp"

namespace braid::runtime {
namespace {

// One depth and one slot fit 63-bit offsets within the other limits; how many there are is held
// against layout's own sizes.
void check_size(layout::ThroughputShape shape) {
  const double depth = shape.depth;
  const double handle_slots = shape.handle_slots;
  shape.depth = 1;
  shape.handle_slots = 1;
  const auto symmetric = static_cast<double>(layout::ThroughputMap::of(shape).total_bytes);
  const auto local = static_cast<double>(layout::ThroughputLocalMap::of(shape).total_bytes);
  require(depth * symmetric < 0x1p62, "depth is {}, but {} times {} bytes are more than 2^62 bytes",
          depth - 1, depth, symmetric);
  require(handle_slots * local < 0x1p62,
          "handle_slots is {}, but {} bytes each are more than 2^62 bytes", handle_slots, local);
}

}  // namespace

layout::ThroughputShape checked_shape(const Topology& topology,
                                      const HighThroughputOptions& options) {
  validate(topology);
  require(topology.num_nodes() == 1,
          "the topology has {} nodes of {} ranks, but high throughput is for the ranks of one node",
          topology.num_nodes(), topology.ranks_per_node);
  check_widths({options.num_experts, options.max_tokens, options.hidden, options.top_k,
                options.widest_dispatch},
               topology.num_ranks);
  require(options.widest_dispatch == DispatchFormat::kBf16 ||
              options.widest_dispatch == DispatchFormat::kFp8,
          "widest_dispatch is {}, but high throughput offers {} and {}",
          to_string(options.widest_dispatch), to_string(DispatchFormat::kBf16),
          to_string(DispatchFormat::kFp8));
  require(options.depth >= 1, "depth is {}, but must be at least 1", options.depth);
  require(options.handle_slots >= 1, "handle_slots is {}, but must be at least 1",
          options.handle_slots);
  require(options.workers >= 0,
          "workers is {}, but must be at least 1, or 0 for the backend's default", options.workers);
  layout::ThroughputShape shape;
  shape.num_ranks = topology.num_ranks;
  shape.num_experts = options.num_experts;
  shape.max_tokens = options.max_tokens;
  shape.hidden = options.hidden;
  shape.top_k = options.top_k;
  // Places are 32 bits wide.
  require(!options.expanded ||
              shape.row_capacity() * shape.top_k < std::numeric_limits<std::int32_t>::max(),
          "expanded is set, but {} rows of {} choices are more than 31 bits count",
          shape.row_capacity(), shape.top_k);
  require(options.depth < std::numeric_limits<int>::max(), "depth is {}, but must be below {}",
          options.depth, std::numeric_limits<int>::max());
  shape.depth = options.depth + 1;
  shape.handle_slots = options.handle_slots;
  shape.expanded = options.expanded;
  shape.widest_dispatch = options.widest_dispatch;
  check_size(shape);
  return shape;
}

MemoryPlan plan_of(const layout::ThroughputMap& map, const layout::ThroughputLocalMap& local_map) {
  MemoryPlan plan;
  const layout::ThroughputShape& shape = map.shape;
  const auto add = [](std::vector<MemoryRegion>& regions, std::string name,
                      const layout::Region& region, std::string purpose) {
    regions.push_back({std::move(name), static_cast<std::uint64_t>(region.offset),
                       static_cast<std::uint64_t>(region.bytes), std::move(purpose)});
  };
  const std::int64_t rows = shape.row_capacity();
  add(plan.symmetric, "control", map.control,
      fmt::format("a line of {} bytes for each of {} ranks to report a failure", layout::kFlagLine,
                  shape.num_ranks));
  add(plan.symmetric, "received", map.received,
      fmt::format("a flag for each of {} depths and {} ranks, a line of {} bytes each: the depth "
                  "may be written again",
                  shape.depth, shape.num_ranks, layout::kFlagLine));
  add(plan.symmetric, "announced", map.announced,
      fmt::format("for each depth and rank a line of {} bytes: how many tokens it has",
                  layout::kFlagLine));
  add(plan.symmetric, "chunk_flags", map.chunk_flags,
      fmt::format("for each depth and rank {} bytes: a flag of 8 bytes for each of {} chunks of "
                  "its routing",
                  map.chunk_flags_stride, shape.num_chunks()));
  add(plan.symmetric, "chunks", map.chunks,
      fmt::format("for each depth, rank and chunk {} bytes: {} tokens x {} experts, {} sets of "
                  "tokens and {} sums, 4 bytes each",
                  map.chunk_stride, layout::kChunkTokens, shape.top_k, shape.num_ranks,
                  shape.counted_experts()));
  add(plan.symmetric, "arrived", map.arrived,
      fmt::format("for each depth a flag of 8 bytes a row: {} ranks x {} tokens", shape.num_ranks,
                  shape.max_tokens));
  add(plan.symmetric, "returned", map.returned,
      fmt::format("for each depth a flag of 8 bytes a (token, rank): {} tokens x {}",
                  shape.max_tokens, shape.most_ranks()));
  add(plan.symmetric, "data", map.data,
      fmt::format("for each of {} depths the larger of dispatch ({} rows x ({} + {} scales + {} "
                  "weights) = {} bytes with its alignment) and combine ({} slots x ({} + {} "
                  "weights) = {} bytes), in whole pages",
                  shape.depth, rows, shape.row_bytes(), shape.scale_bytes(), shape.weight_stride(),
                  map.dispatch_bytes, shape.home_slots(), shape.home_row_bytes(),
                  shape.weight_stride(), map.combine_bytes));
  plan.symmetric_bytes = static_cast<std::uint64_t>(map.total_bytes);

  add(plan.local, "state", local_map.state, "the newest epoch");
  add(plan.local, "active", local_map.active,
      fmt::format("which of {} ranks take part, 4 bytes each", shape.num_ranks));
  add(plan.local, "workers_done", local_map.workers_done, "which workers have ended");
  add(plan.local, "claims", local_map.claims, "how much of an operation was begun");
  add(plan.local, "receive_claims", local_map.receive_claims, "the same of what is received");
  add(plan.local, "handles",
      {local_map.row_starts.offset, shape.handle_slots * local_map.handle_bytes},
      fmt::format(
          "{} handle slots of {} bytes: row sums and counts, destinations of {} tokens x {} "
          "x 8 bytes, origin (8 bytes) and {} experts (4 bytes each) of {} rows{}",
          shape.handle_slots, local_map.handle_bytes, shape.max_tokens, shape.most_ranks(),
          shape.top_k, rows, shape.expanded ? ", and as many places of the expanded form" : ""));
  plan.local_bytes = static_cast<std::uint64_t>(local_map.total_bytes);
  return plan;
}

}  // namespace braid::runtime
