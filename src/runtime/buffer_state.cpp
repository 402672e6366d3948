#include "runtime/buffer_state.hpp"

#include <sys/mman.h>

#include <fmt/ranges.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "base/check.hpp"
#include "runtime/group_backend.hpp"

namespace braid::detail {
namespace {

const char* name_of(machine::Operation operation) {
  switch (operation) {
    case machine::Operation::kNone: break;
    case machine::Operation::kDispatchSend: return "dispatch send";
    case machine::Operation::kDispatchReceive: return "dispatch receive";
    case machine::Operation::kCombineSend: return "combine send";
    case machine::Operation::kCombineReceive: return "combine receive";
  }
  return "operation";
}

constexpr std::uint64_t kMostOperations = (std::uint64_t{1} << 32) - 2;

}  // namespace

LocalBlock::LocalBlock(std::size_t bytes) : bytes_(bytes) {
  void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) {
    fail(ErrorCode::kMissing, "can't allocate {} bytes for a buffer's tables: {}", bytes,
         std::strerror(errno));
  }
  data_ = static_cast<std::byte*>(memory);
}

LocalBlock::~LocalBlock() { munmap(data_, bytes_); }

BufferState::BufferState(Group& its_group, const BufferOptions& its_options,
                         const layout::BufferShape& shape)
    : group(its_group),
      options(its_options),
      map(layout::BufferMap::of(shape)),
      local_map(layout::LocalMap::of(shape)),
      local(static_cast<std::size_t>(local_map.total_bytes)),
      context(group.rank(), map,
              group.backend().allocate(static_cast<std::size_t>(map.total_bytes)),
              group.timeout_ms(), [peers = group] { return peers.backend().dead_peers(); }),
      slots(static_cast<std::size_t>(shape.handle_slots)) {
  auto* active = reinterpret_cast<std::uint32_t*>(local.data() + local_map.active.offset);
  std::fill_n(active, shape.num_ranks, 1U);
}

int BufferState::take_slot(SlotOrders& after) {
  const std::lock_guard lock(slots_mutex);
  const auto free =
      std::find_if(slots.begin(), slots.end(), [](const HandleSlot& slot) { return !slot.taken; });
  if (free == slots.end()) {
    fail(ErrorCode::kRefused,
         "all {} handle slots are taken: drop a Handle, or make the buffer with more handle_slots",
         slots.size());
  }
  free->taken = true;
  after = free->orders;
  return static_cast<int>(free - slots.begin());
}

void BufferState::free_slot(int slot, const SlotOrders& orders) {
  const std::lock_guard lock(slots_mutex);
  slots[static_cast<std::size_t>(slot)] = {false, orders};
}

void BufferState::note_sent(const std::string& name) {
  // Its depth is free once the operation D before was received, whatever came in between.
  if (!outstanding.empty() &&
      outstanding.front().number + static_cast<std::uint64_t>(options.depth) <= num_sent) {
    std::vector<std::string> names;
    for (const Sent& sent : outstanding) names.push_back(sent.name);
    fail(
        ErrorCode::kRefused,
        "{} is refused: {} sent and not yet received, and the buffer has {} depths, which are used "
        "in turn; receive the oldest first, or make the buffer with more depth",
        name, fmt::join(names, ", "), options.depth);
  }
  // Epochs are 32 bits wide and must not come again: an old flag would look new.
  if (num_sent >= kMostOperations) {
    fail(ErrorCode::kRefused,
         "{} is refused: the buffer has done its {} operations; make a new one", name,
         kMostOperations);
  }
  outstanding.push_back({num_sent++, name});
}

void BufferState::note_received(const std::string& name) {
  std::erase_if(outstanding, [&name](const Sent& sent) { return sent.name == name; });
}

void BufferState::throw_if_failed() {
  if (!context.failed()) return group.check();
  const cpu::Failure failure = context.failure();
  const bool own = failure.reporter == group.rank();
  if (failure.tag.peer == failure.reporter) {
    const std::string text =
        own ? fmt::format("rank {}'s own operations failed", group.rank())
            : fmt::format(
                  "rank {} ended its operations because rank {} reported that its own "
                  "operations failed",
                  group.rank(), failure.reporter);
    const Error error(ErrorCode::kPeerFailed, text);
    group.backend().fail(std::make_exception_ptr(error));
    throw error;
  }
  const std::string did_not =
      failure.peer_ended
          ? fmt::format("rank {} ended before it answered rank {}", failure.tag.peer,
                        failure.reporter)
          : fmt::format("rank {} did not answer rank {} within {:.1f} s", failure.tag.peer,
                        failure.reporter, static_cast<double>(group.timeout_ms()) / 1000.0);
  // Only the reporter knows what it saw.
  const std::string saw =
      own ? fmt::format(", saw epoch {} with value {}", layout::epoch_of(failure.seen),
                        layout::value_of(failure.seen))
          : "";
  const std::string wait =
      fmt::format("{} in {}, round {} (expected epoch {}{})", did_not,
                  name_of(failure.tag.operation), failure.tag.round, failure.expected_epoch, saw);
  const std::string text =
      own ? wait
          : fmt::format("rank {} ended its operations because rank {} reported: {}", group.rank(),
                        failure.reporter, wait);
  const Error error(own && !failure.peer_ended ? ErrorCode::kTimeout : ErrorCode::kPeerFailed,
                    text);
  group.backend().fail(std::make_exception_ptr(error));
  throw error;
}

}  // namespace braid::detail
