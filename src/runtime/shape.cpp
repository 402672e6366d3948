#include "runtime/shape.hpp"

#include <algorithm>
#include <limits>
#include <utility>

#include "base/check.hpp"
#include "codec/row.hpp"

namespace braid::runtime {
namespace {

constexpr std::int64_t kMost31 = std::numeric_limits<std::int32_t>::max();
constexpr int kMostHidden = 1 << 24;
constexpr std::int64_t kMost32 = std::numeric_limits<std::uint32_t>::max();

void check_local_experts(int num_experts, int num_ranks) {
  require(num_experts >= 1, "num_experts is {}, but must be at least 1", num_experts);
  require(num_experts % num_ranks == 0, "{} experts are not divisible by {} ranks", num_experts,
          num_ranks);
}

// Offsets are 63-bit numbers. One depth and one handle slot can't exceed them within the limits
// above; how many of each there are is held against layout's own sizes.
void check_size(layout::BufferShape shape) {
  const double depth = shape.depth;
  const double handle_slots = shape.handle_slots;
  shape.depth = 1;
  shape.handle_slots = 1;
  const auto symmetric = static_cast<double>(layout::BufferMap::of(shape).total_bytes);
  const auto local = static_cast<double>(layout::LocalMap::of(shape).total_bytes);
  require(depth * symmetric < 0x1p62, "depth is {}, but {} times {} bytes are more than 2^62 bytes",
          depth - 1, depth, symmetric);
  require(handle_slots * local < 0x1p62,
          "handle_slots is {}, but {} bytes each are more than 2^62 bytes", handle_slots, local);
}

}  // namespace

void check_widths(const Widths& widths, int num_ranks) {
  check_local_experts(widths.num_experts, num_ranks);
  require(widths.max_tokens >= 1, "max_tokens is {}, but must be at least 1", widths.max_tokens);
  const int multiple = codec::hidden_multiple(widths.widest_dispatch);
  require(widths.hidden >= multiple && widths.hidden % multiple == 0,
          "hidden is {}, but must be a positive multiple of {} for {}", widths.hidden, multiple,
          to_string(widths.widest_dispatch));
  require(widths.hidden <= kMostHidden, "hidden is {}, but must be at most {}", widths.hidden,
          kMostHidden);
  require(
      widths.top_k >= 1 && widths.top_k <= layout::kMaxTopK && widths.top_k <= widths.num_experts,
      "top_k is {}, but must be 1 to {} and at most the {} experts", widths.top_k, layout::kMaxTopK,
      widths.num_experts);
  require(std::int64_t{widths.num_experts} * widths.max_tokens <= kMost32 &&
              std::int64_t{widths.max_tokens} * widths.top_k <= kMost31 &&
              std::int64_t{num_ranks} * widths.max_tokens <= kMost31 &&
              widths.num_experts / num_ranks < 1 << 25,
          "{} experts of {} tokens each have more rows than 32 bits count", widths.num_experts,
          widths.max_tokens);
}

layout::BufferShape checked_shape(const Topology& topology, const BufferOptions& options) {
  validate(topology);
  check_widths({options.num_experts, options.max_tokens, options.hidden, options.top_k,
                options.widest_dispatch},
               topology.num_ranks);
  const int num_local = options.num_experts / topology.num_ranks;
  require(options.few_tokens >= 0, "few_tokens is {}, but must be at least 0", options.few_tokens);
  require(options.depth >= 1, "depth is {}, but must be at least 1", options.depth);
  require(options.max_rounds >= 1 && options.max_rounds <= num_local,
          "max_rounds is {}, but must be 1 to the {} local experts", options.max_rounds, num_local);
  require(options.handle_slots >= 1, "handle_slots is {}, but must be at least 1",
          options.handle_slots);
  for (const auto& [name, workers] : {std::pair{"send_workers", options.send_workers},
                                      std::pair{"receive_workers", options.receive_workers}}) {
    require(workers >= 0, "{} is {}, but must be at least 1, or 0 for the backend's default", name,
            workers);
  }
  layout::BufferShape shape;
  shape.num_ranks = topology.num_ranks;
  shape.num_experts = options.num_experts;
  shape.max_tokens = options.max_tokens;
  shape.hidden = options.hidden;
  shape.top_k = options.top_k;
  // One more: a rank whose operation was both phases at once says only with its next operation that
  // it has received (layout::OperationState), and D sends may be ahead of it all the same.
  shape.depth = options.depth + 1;
  shape.max_rounds = options.max_rounds;
  shape.handle_slots = options.handle_slots;
  shape.per_expert_copies = options.allow_per_expert;
  shape.combine_regions = options.combine_regions;
  if (options.hidden <= layout::kMostWordHidden) {
    shape.few_tokens = std::min(options.few_tokens, options.max_tokens);
  }
  shape.widest_dispatch = options.widest_dispatch;
  check_size(shape);
  return shape;
}

MemoryPlan plan_of(const layout::BufferMap& map, const layout::LocalMap& local_map) {
  MemoryPlan plan;
  const auto symmetric = [&plan](const char* name, const layout::Region& region,
                                 std::string purpose) {
    plan.symmetric.push_back({name, static_cast<std::uint64_t>(region.offset),
                              static_cast<std::uint64_t>(region.bytes), std::move(purpose)});
  };
  const layout::BufferShape& shape = map.shape;
  symmetric("control", map.control,
            fmt::format("a line of {} bytes for each of {} ranks to report a failure",
                        layout::kFlagLine, shape.num_ranks));
  symmetric("received", map.received,
            fmt::format("a flag for each of {} depths and {} ranks, a line of {} bytes each: the "
                        "depth may be written again",
                        shape.depth, shape.num_ranks, layout::kFlagLine));
  symmetric("notices", map.notices,
            fmt::format("for each depth and source rank {} bytes: rows for each of {} local "
                        "experts, messages of each of {} rounds, 8 bytes each",
                        map.notice_stride, shape.num_local(), shape.max_rounds));
  symmetric("arrived", map.arrived,
            fmt::format("for each depth and source rank a flag of 8 bytes a message slot, {} slots",
                        shape.slots_per_source()));
  symmetric("combine_arrived", map.combine_arrived,
            fmt::format("for each depth a flag of 8 bytes a (token, choice): {} tokens x {}",
                        shape.max_tokens, shape.top_k));
  symmetric("signals", map.signals,
            fmt::format("for each depth and source rank {} bytes: dispatch's and combine's signal "
                        "of each of {} rounds",
                        map.signal_stride, shape.max_rounds));
  symmetric("word_rows", map.word_rows,
            fmt::format("for each depth the sums of a rank with at most {} tokens, as words of 8 "
                        "bytes for two channels: {} slots x {} bytes",
                        shape.few_tokens, shape.word_slots(), shape.word_row_stride()));
  symmetric("data", map.data,
            fmt::format("for each of {} depths the larger of dispatch ({} ranks x {} slots x {} = "
                        "{} bytes) and combine ({} slots x {} = {} bytes), in whole pages",
                        shape.depth, shape.num_ranks, shape.slots_per_source(),
                        shape.message_stride(), map.dispatch_bytes, shape.combine_slots(),
                        shape.combine_stride(), map.combine_bytes));
  plan.symmetric_bytes = static_cast<std::uint64_t>(map.total_bytes);

  const auto local = [&plan](std::string name, std::int64_t offset, std::int64_t bytes,
                             std::string purpose) {
    plan.local.push_back({std::move(name), static_cast<std::uint64_t>(offset),
                          static_cast<std::uint64_t>(bytes), std::move(purpose)});
  };
  local("state", local_map.state.offset, local_map.state.bytes, "the newest epoch");
  local("active", local_map.active.offset, local_map.active.bytes,
        fmt::format("which of {} ranks take part, 4 bytes each", shape.num_ranks));
  local("records", local_map.records.offset, local_map.records.bytes,
        fmt::format("epochs and counters of {} handle slots", shape.handle_slots));
  local("handles", local_map.expert_counts.offset, shape.handle_slots * local_map.handle_bytes,
        fmt::format("{} handle slots of {} bytes: counts, the origin of {} rows x 8 bytes, the "
                    "terms of {} namings x 16 bytes",
                    shape.handle_slots, local_map.handle_bytes,
                    shape.num_local() * shape.row_capacity(),
                    shape.num_ranks * local_map.terms_per_source()));
  if (shape.combine_regions) {
    local("combine_regions", local_map.combine_regions.offset, local_map.combine_regions.bytes,
          fmt::format("for each of {} handle slots the experts' rows, which combine sends from "
                      "here: {} experts x {} rows x {} bytes, in whole pages",
                      shape.handle_slots, shape.num_local(), shape.row_capacity(),
                      2 * std::int64_t{shape.hidden}));
  }
  plan.local_bytes = static_cast<std::uint64_t>(local_map.total_bytes);
  return plan;
}

}  // namespace braid::runtime
