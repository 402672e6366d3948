#include "runtime/buffer_state.hpp"

#include <sys/mman.h>

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

std::string list_of(const std::vector<std::string>& names) {
  return fmt::format("{}", fmt::join(names, ", "));
}

}  // namespace

LocalBlock::LocalBlock(std::size_t bytes) : bytes_(bytes) {
  void* memory =
      mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
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
      slot_taken(static_cast<std::size_t>(shape.handle_slots), false) {
  auto* active = reinterpret_cast<std::uint32_t*>(local.data() + local_map.active.offset);
  std::fill_n(active, shape.num_ranks, 1U);
}

int BufferState::take_slot() {
  const std::lock_guard lock(slots_mutex);
  const auto free = std::find(slot_taken.begin(), slot_taken.end(), false);
  if (free == slot_taken.end()) {
    fail(ErrorCode::kRefused,
         "all {} handle slots are taken: drop a Handle, or make the buffer with more handle_slots",
         slot_taken.size());
  }
  *free = true;
  return static_cast<int>(free - slot_taken.begin());
}

void BufferState::free_slot(int slot) {
  const std::lock_guard lock(slots_mutex);
  slot_taken[static_cast<std::size_t>(slot)] = false;
}

void BufferState::note_sent(const std::string& name) {
  if (outstanding.size() >= static_cast<std::size_t>(options.depth)) {
    fail(ErrorCode::kRefused,
         "{} is refused: {} sent and not yet received, and the buffer has {} depths; receive the "
         "oldest first, or make the buffer with more depth",
         name, list_of(outstanding), options.depth);
  }
  outstanding.push_back(name);
}

void BufferState::note_received(const std::string& name) { std::erase(outstanding, name); }

void BufferState::throw_if_failed() {
  if (!context.failed()) return;
  const cpu::Failure failure = context.failure();
  const bool own = failure.reporter == group.rank();
  const std::string did_not =
      failure.peer_ended
          ? fmt::format("rank {} ended before it answered rank {}", failure.tag.peer,
                        failure.reporter)
          : fmt::format("rank {} did not answer rank {} within {:.1f} s", failure.tag.peer,
                        failure.reporter, static_cast<double>(group.timeout_ms()) / 1000.0);
  // Only the reporter knows what it saw.
  const std::string saw = own ? fmt::format(", saw epoch {} with value {}",
                                            layout::epoch_of(failure.seen),
                                            layout::value_of(failure.seen))
                              : "";
  const std::string wait =
      fmt::format("{} in {}, round {} (expected epoch {}{})", did_not,
                  name_of(failure.tag.operation), failure.tag.round, failure.expected_epoch, saw);
  const std::string text =
      own ? wait
          : fmt::format("rank {} ended its operations because rank {} reported: {}", group.rank(),
                        failure.reporter, wait);
  const Error error(
      own && !failure.peer_ended ? ErrorCode::kTimeout : ErrorCode::kPeerFailed, text);
  group.backend().fail(std::make_exception_ptr(error));
  throw error;
}

}  // namespace braid::detail
