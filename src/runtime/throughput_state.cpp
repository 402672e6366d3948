#include "runtime/throughput_state.hpp"

#include <atomic>
#include <chrono>
#include <numeric>
#include <thread>

#include "base/check.hpp"
#include "runtime/devices.hpp"

namespace braid::detail {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kYieldLooks = 200;  // before a look costs a sleep
constexpr std::chrono::microseconds kSleep{50};

ReceivedCounts read_record(const std::byte* record, const ThroughputHandleState& handle) {
  const layout::ThroughputShape& shape = handle.buffer->map.shape;
  const auto at = layout::ReceivedMap::of(shape);
  const auto* sources = reinterpret_cast<const std::uint32_t*>(record + at.sources_at);
  const auto* experts = reinterpret_cast<const std::uint32_t*>(record + at.experts_at);
  ReceivedCounts rows;
  for (int source = 0; source < shape.num_ranks; ++source) {
    rows.rows_per_source.push_back(sources[source]);
    rows.num_rows += sources[source];
  }
  for (int local = 0; local < shape.num_local(); ++local) {
    rows.rows_per_expert.push_back(
        round_up(std::int64_t{experts[local]}, std::int64_t{handle.expert_alignment}));
  }
  return rows;
}

// The layout's own waits end first, and say which rank did not come.
std::int64_t longest_wait_ms(const ThroughputHandleState& handle) {
  return 2 * handle.buffer->group.timeout_ms();
}

[[noreturn]] void fail_late(const ThroughputHandleState& handle) {
  const Error error(ErrorCode::kTimeout,
                    fmt::format("{} did not run on rank {} within {:.1f} s", handle.name,
                                handle.buffer->group.rank(),
                                static_cast<double>(longest_wait_ms(handle)) / 1000.0));
  handle.buffer->fail(std::make_exception_ptr(error));
  throw error;
}

}  // namespace

ThroughputState::ThroughputState(Group& its_group, const HighThroughputOptions& its_options,
                                 const layout::ThroughputShape& shape)
    : BufferCore(its_group, shape.num_experts, "layout"),
      options(its_options),
      map(layout::ThroughputMap::of(shape)),
      local_map(layout::ThroughputLocalMap::of(shape)),
      slots(shape.handle_slots) {
  engine = make_engine({*this,
                        map.control_map(),
                        map.total_bytes,
                        local_map.total_bytes,
                        local_map.active.offset,
                        shape.handle_slots * layout::ReceivedMap::of(shape).stride,
                        {{"buffer", options.workers}}});
  if (engine->high_throughput() == nullptr) {
    braid::fail(ErrorCode::kMissing,
                "high throughput is not offered on the backend {} yet; the backend cpu has it",
                to_string(group.backend_kind()));
  }
}

protocol::ThroughputArgs ThroughputState::args_of(int handle_slot) const {
  return {map, local_map, engine->local(), handle_slot};
}

int ThroughputState::workers_of(int chosen) const {
  if (chosen != 0) return chosen;
  return options.workers != 0 ? options.workers : engine->budget().standard;
}

ThroughputHandleState::ThroughputHandleState(std::shared_ptr<ThroughputState> its_buffer)
    : buffer(std::move(its_buffer)) {
  NothingLeft nothing;
  slot = buffer->slots.take(nothing);
}

std::int64_t ThroughputHandleState::rows_needed() const {
  return received ? received->num_rows : buffer->map.shape.row_capacity();
}

std::int64_t ThroughputHandleState::expanded_rows_needed() const {
  if (!received) return buffer->map.shape.expanded_capacity(expert_alignment);
  return std::accumulate(received->rows_per_expert.begin(), received->rows_per_expert.end(),
                         std::int64_t{0});
}

const ReceivedCounts& await_received(ThroughputHandleState& handle) {
  if (handle.received) return *handle.received;
  if (handle.laid_out.backend()->captured()) {
    braid::fail(ErrorCode::kRefused,
                "{} was captured into a graph: the host does not know its rows; give outputs of "
                "{} rows",
                handle.name, handle.rows_needed());
  }
  std::byte* record = handle.buffer->engine->host_block() +
                      layout::ReceivedMap::of(handle.buffer->map.shape).record(handle.slot);
  const std::atomic_ref<layout::Word> word(*reinterpret_cast<layout::Word*>(record));
  const auto deadline = Clock::now() + std::chrono::milliseconds(longest_wait_ms(handle));
  for (int look = 0; word.load(std::memory_order_acquire) != handle.number; ++look) {
    handle.buffer->throw_if_failed();
    // What the stream has failed with: then the layout will not run.
    if (handle.laid_out.ready() && word.load(std::memory_order_acquire) != handle.number) {
      handle.laid_out.wait();
    }
    if (Clock::now() >= deadline) fail_late(handle);
    if (look < kYieldLooks) {
      std::this_thread::yield();
    } else {
      std::this_thread::sleep_for(kSleep);
    }
  }
  handle.received = read_record(record, handle);
  return *handle.received;
}

}  // namespace braid::detail
