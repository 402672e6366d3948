#include "runtime/buffer_state.hpp"

#include <fmt/ranges.h>

#include <algorithm>
#include <utility>

#include "base/check.hpp"
#include "runtime/devices.hpp"

namespace braid::detail {
BufferState::BufferState(Group& its_group, const BufferOptions& its_options,
                         const layout::BufferShape& shape)
    : BufferCore(its_group, shape.num_experts, "dispatch"),
      options(its_options),
      map(layout::BufferMap::of(shape)),
      local_map(layout::LocalMap::of(shape)),
      slots(shape.handle_slots) {
  engine = make_engine({*this,
                        map.control_map(),
                        map.total_bytes,
                        local_map.total_bytes,
                        local_map.active.offset,
                        0,
                        {{"send", options.send_workers}, {"receive", options.receive_workers}}});
}

void BufferState::choose_workers(int& send, int& receive) const {
  const int standard = engine->budget().standard;
  if (send == 0) send = options.send_workers == 0 ? standard : options.send_workers;
  if (receive == 0) receive = options.receive_workers == 0 ? standard : options.receive_workers;
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
  check_epochs(num_sent, name);
  outstanding.push_back({num_sent++, name});
}

void BufferState::note_received(const std::string& name) {
  std::erase_if(outstanding, [&name](const Sent& sent) { return sent.name == name; });
}

void BufferState::abandon(std::exception_ptr failure) {
  fail(std::move(failure));  // first: what the group throws from now on is the cause
  engine->abandon();
}

}  // namespace braid::detail
