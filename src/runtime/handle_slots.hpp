// The handle slots of a buffer: a fixed number, taken and freed.
#pragma once

#include <algorithm>
#include <mutex>
#include <vector>

#include "base/check.hpp"

namespace braid::detail {

// Left: what a slot's user leaves for the next one to know.
template <class Left>
class HandleSlots {
 public:
  explicit HandleSlots(int count) : slots_(static_cast<std::size_t>(count)) {}

  int take(Left& left) {
    const std::lock_guard lock(mutex_);
    const auto free =
        std::find_if(slots_.begin(), slots_.end(), [](const Slot& slot) { return !slot.taken; });
    if (free == slots_.end()) {
      braid::fail(ErrorCode::kRefused,
                  "all {} handle slots are taken: drop a Handle, or make the buffer with more "
                  "handle_slots",
                  slots_.size());
    }
    free->taken = true;
    left = free->left;
    return static_cast<int>(free - slots_.begin());
  }
  void free(int slot, const Left& left) {
    const std::lock_guard lock(mutex_);
    slots_[static_cast<std::size_t>(slot)] = {false, left};
  }

 private:
  struct Slot {
    bool taken = false;
    Left left;
  };

  std::mutex mutex_;  // handles end on any thread
  std::vector<Slot> slots_;
};

}  // namespace braid::detail
