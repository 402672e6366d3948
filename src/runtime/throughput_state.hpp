// What a HighThroughputBuffer and its handles are made of.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "braid/high_throughput.hpp"
#include "layout/throughput.hpp"
#include "machine/order.hpp"
#include "protocol/args.hpp"
#include "runtime/buffer_core.hpp"
#include "runtime/handle_slots.hpp"

namespace braid::detail {

// All of a rank's operations run in the order of its calls: a slot's next user needs to know
// nothing of the last one.
struct NothingLeft {};

struct ThroughputState final : BufferCore {
  // Collective.
  ThroughputState(Group& its_group, const HighThroughputOptions& its_options,
                  const layout::ThroughputShape& shape);

  HighThroughputOptions options;
  layout::ThroughputMap map;
  layout::ThroughputLocalMap local_map;
  HandleSlots<NothingLeft> slots;

  Order operations;
  std::uint64_t num_operations = 0;
  bool captured = false;  // an operation was captured into a graph: epochs pass unseen

  protocol::ThroughputArgs args_of(int handle_slot) const;
  protocol::Engine::HighThroughput& roles() const { return *engine->high_throughput(); }
  // 0 becomes the buffer's default.
  int workers_of(int chosen) const;
  // Runs `start` as the buffer's next operation.
  template <class Start>
  Event run(Stream& stream, const std::string& name, Start start) {
    check_epochs(num_operations, name);
    operations.enter(*stream.backend());
    const Event done = start();
    operations.leave(*stream.backend(), done);
    captured = captured || done.backend()->captured();
    ++num_operations;
    return done;
  }
};

// Enqueued operations keep this alive; the slot is free when the user's last handle goes.
struct ThroughputHandleState : std::enable_shared_from_this<ThroughputHandleState> {
  explicit ThroughputHandleState(std::shared_ptr<ThroughputState> its_buffer);
  ThroughputHandleState(const ThroughputHandleState&) = delete;
  ThroughputHandleState& operator=(const ThroughputHandleState&) = delete;

  std::shared_ptr<ThroughputState> buffer;
  int slot;
  std::string name;          // "layout #3"
  std::uint64_t number = 0;  // of this layout; in the record once it has run
  std::int64_t num_tokens = 0;
  int k = 1;
  int expert_alignment = 1;
  Event laid_out;
  std::optional<ReceivedCounts> received;  // once the host knows

  // Rows that outputs need: N where the host knows it, else R*T.
  std::int64_t rows_needed() const;
  std::int64_t expanded_rows_needed() const;
};

// What a user's handles share.
struct ThroughputHandleOwner {
  explicit ThroughputHandleOwner(std::shared_ptr<ThroughputHandleState> its_state)
      : state(std::move(its_state)) {}
  ThroughputHandleOwner(const ThroughputHandleOwner&) = delete;
  ThroughputHandleOwner& operator=(const ThroughputHandleOwner&) = delete;
  ~ThroughputHandleOwner() { state->buffer->slots.free(state->slot, {}); }

  std::shared_ptr<ThroughputHandleState> state;
};

// Blocks until the host knows what the layout's rank receives.
const ReceivedCounts& await_received(ThroughputHandleState& handle);

}  // namespace braid::detail
