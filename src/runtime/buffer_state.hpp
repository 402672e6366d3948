// What a Buffer and its Handles are made of.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "braid/buffer.hpp"
#include "layout/local.hpp"
#include "layout/map.hpp"
#include "machine/order.hpp"
#include "protocol/engine.hpp"
#include "runtime/buffer_core.hpp"
#include "runtime/handle_slots.hpp"

namespace braid::detail {

// Where the phases of a handle slot's newest operations stand.
using SlotOrders = std::array<Order, 4>;

struct BufferState final : BufferCore {
  // Collective.
  BufferState(Group& its_group, const BufferOptions& its_options, const layout::BufferShape& shape);

  BufferOptions options;
  layout::BufferMap map;
  layout::LocalMap local_map;

  struct Sent {
    std::uint64_t number = 0;  // of the operations sent so far: at most D after the oldest
    std::string name;
  };

  Order first_sends;
  std::uint64_t num_begun = 0;    // operations so far, for their names
  std::uint64_t num_sent = 0;     // those whose first send was enqueued
  std::vector<Sent> outstanding;  // sent and not yet received, oldest first

  HandleSlots<SlotOrders> slots;

  void note_sent(const std::string& name);
  void note_received(const std::string& name);
  // 0 becomes the buffer's default.
  void choose_workers(int& send, int& receive) const;
  // Ends the group with `failure`, which something beside the buffer's operations has met: they
  // end, and the peers are told.
  void abandon(std::exception_ptr failure);
};

// How far the rounds of a phase have come, and where their next one is ordered after.
struct PhaseProgress {
  int next_round = 0;
  Order order;
};

// Enqueued operations keep this alive; the slot is free when the user's last Handle goes, since the
// slot's next operation is ordered behind the enqueued ones. So how many dispatches can be enqueued
// ahead does not depend on how fast they run.
struct HandleState : std::enable_shared_from_this<HandleState> {
  explicit HandleState(std::shared_ptr<BufferState> its_buffer)
      : buffer(std::move(its_buffer)), slot(buffer->slots.take(earlier)) {
    // What this handle adds to them is behind them; what it does not, whoever comes next still
    // waits for.
    dispatch_sends.order = earlier[0];
    dispatch_receives.order = earlier[1];
    combine_sends.order = earlier[2];
    combine_receive = earlier[3];
  }
  HandleState(const HandleState&) = delete;
  HandleState& operator=(const HandleState&) = delete;

  std::shared_ptr<BufferState> buffer;
  SlotOrders earlier;  // of the slot's last user
  int slot;

  std::string dispatch_name;  // "dispatch #3"
  protocol::DispatchArgs dispatch;
  DispatchOptions dispatch_options;
  bool has_weights = false;  // they travel with the tokens
  PhaseProgress dispatch_sends, dispatch_receives;

  std::string combine_name;
  bool combining = false;  // begun and not yet received
  protocol::CombineArgs combine;
  CombineOptions combine_options;
  PhaseProgress combine_sends;
  Order rows_received;  // the newest receive of the dispatch
  Order combine_receive;

  void combine_receive_ended() {
    buffer->note_received(combine_name);
    combining = false;
  }
  SlotOrders orders() const {
    return {dispatch_sends.order, dispatch_receives.order, combine_sends.order, combine_receive};
  }
};

// What a user's Handles share.
struct HandleOwner {
  explicit HandleOwner(std::shared_ptr<HandleState> its_state) : state(std::move(its_state)) {}
  HandleOwner(const HandleOwner&) = delete;
  HandleOwner& operator=(const HandleOwner&) = delete;
  ~HandleOwner() { state->buffer->slots.free(state->slot, state->orders()); }

  std::shared_ptr<HandleState> state;
};

}  // namespace braid::detail
