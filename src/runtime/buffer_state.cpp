#include "runtime/buffer_state.hpp"

#include <fmt/ranges.h>

#include <algorithm>
#include <utility>

#include "base/check.hpp"
#include "machine/bad_choice.hpp"
#include "runtime/devices.hpp"
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

BufferState::BufferState(Group& its_group, const BufferOptions& its_options,
                         const layout::BufferShape& shape)
    : group(its_group),
      options(its_options),
      map(layout::BufferMap::of(shape)),
      local_map(layout::LocalMap::of(shape)),
      engine(make_engine(*this)),
      slots(static_cast<std::size_t>(shape.handle_slots)) {}

void BufferState::watch() {
  // On the CPU a failure reaches stream and group by itself, as the operation's exception.
  if (group.backend().device().kind() != Backend::kCpu) group.backend().watch(weak_from_this());
}

void BufferState::choose_workers(int& send, int& receive) const {
  const int standard = engine->budget().standard;
  if (send == 0) send = options.send_workers == 0 ? standard : options.send_workers;
  if (receive == 0) receive = options.receive_workers == 0 ? standard : options.receive_workers;
}

int BufferState::take_slot(SlotOrders& after) {
  const std::lock_guard lock(slots_mutex);
  const auto free =
      std::find_if(slots.begin(), slots.end(), [](const HandleSlot& slot) { return !slot.taken; });
  if (free == slots.end()) {
    braid::fail(
        ErrorCode::kRefused,
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
    braid::fail(
        ErrorCode::kRefused,
        "{} is refused: {} sent and not yet received, and the buffer has {} depths, which are used "
        "in turn; receive the oldest first, or make the buffer with more depth",
        name, fmt::join(names, ", "), options.depth);
  }
  // Epochs are 32 bits wide and must not come again: an old flag would look new.
  if (num_sent >= kMostOperations) {
    braid::fail(ErrorCode::kRefused,
                "{} is refused: the buffer has done its {} operations; make a new one", name,
                kMostOperations);
  }
  outstanding.push_back({num_sent++, name});
}

void BufferState::note_received(const std::string& name) {
  std::erase_if(outstanding, [&name](const Sent& sent) { return sent.name == name; });
}

void BufferState::throw_if_failed() {
  throw_failure();
  group.backend().check();
}

void BufferState::fail(std::exception_ptr failure) { group.backend().fail(std::move(failure)); }

void BufferState::throw_bad_input() {
  const auto bad = engine->take_bad_choice();
  if (!bad) return;
  braid::fail(ErrorCode::kInvalidArgument, "dispatch: {}",
              machine::sentence_of(*bad, options.num_experts));
}

void BufferState::throw_failure() {
  const std::optional<protocol::Failure> failed = engine->failure();
  if (!failed) return;
  const protocol::Failure& failure = *failed;
  const bool own = failure.reporter == group.rank();
  if (failure.tag.peer == failure.reporter) {
    const std::string text =
        own ? fmt::format("rank {}'s own operations failed", group.rank())
            : fmt::format(
                  "rank {} ended its operations because rank {} reported that its own "
                  "operations failed",
                  group.rank(), failure.reporter);
    const Error error(ErrorCode::kPeerFailed, text);
    fail(std::make_exception_ptr(error));
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
  fail(std::make_exception_ptr(error));
  throw error;
}

}  // namespace braid::detail
