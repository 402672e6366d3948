// What a Buffer and its Handles are made of.
#pragma once

#include <atomic>
#include <cstddef>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "backend/cpu/rank_context.hpp"
#include "braid/buffer.hpp"
#include "layout/local.hpp"
#include "layout/map.hpp"
#include "machine/stream_backend.hpp"
#include "protocol/args.hpp"

namespace braid::detail {

// Zero-filled memory of this rank alone; pages that are never touched cost nothing.
class LocalBlock {
 public:
  explicit LocalBlock(std::size_t bytes);
  LocalBlock(const LocalBlock&) = delete;
  LocalBlock& operator=(const LocalBlock&) = delete;
  ~LocalBlock();
  std::byte* data() const { return data_; }

 private:
  std::byte* data_ = nullptr;
  std::size_t bytes_ = 0;
};

// Operations that must not run side by side: the next one waits for the last, across streams.
class Order {
 public:
  // Before an operation is enqueued.
  void enter(Stream& stream) const {
    const std::weak_ptr<StreamBackend> here = stream.backend()->weak_from_this();
    const bool same = !last_.owner_before(here) && !here.owner_before(last_);
    if (!same) stream.wait(event_);
  }
  // After it was enqueued; the event is recorded behind it.
  void leave(Stream& stream, const Event& event) {
    last_ = stream.backend()->weak_from_this();
    event_ = event;
  }

 private:
  // Weak: a stream ends when its user lets it go, and a new one at its address is another stream.
  std::weak_ptr<StreamBackend> last_;
  Event event_;
};

struct BufferState {
  BufferState(Group& its_group, const BufferOptions& its_options,
              const layout::BufferShape& shape);

  Group group;
  BufferOptions options;
  layout::BufferMap map;
  layout::LocalMap local_map;
  LocalBlock local;
  cpu::RankContext context;

  Order first_sends;
  std::uint64_t num_begun = 0;             // operations so far, for their names
  std::vector<std::string> outstanding;    // sent and not yet received, oldest first

  // Handles end on any thread.
  std::mutex slots_mutex;
  std::vector<bool> slot_taken;

  int take_slot();
  void free_slot(int slot);
  void note_sent(const std::string& name);
  void note_received(const std::string& name);
  // Throws what this rank's operations failed with, once they did.
  void throw_if_failed();
};

// How far the rounds of a phase have come, and where their next one is ordered after.
struct PhaseProgress {
  int next_round = 0;
  Order order;
};

struct HandleState : std::enable_shared_from_this<HandleState> {
  explicit HandleState(std::shared_ptr<BufferState> its_buffer)
      : buffer(std::move(its_buffer)), slot(buffer->take_slot()) {}
  HandleState(const HandleState&) = delete;
  HandleState& operator=(const HandleState&) = delete;
  ~HandleState() { buffer->free_slot(slot); }

  std::shared_ptr<BufferState> buffer;
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
};

}  // namespace braid::detail
