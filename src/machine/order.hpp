// Operations that must not run side by side: the next one waits for the last, across streams.
#pragma once

#include <array>
#include <memory>

#include "machine/stream_backend.hpp"

namespace braid::detail {

class Order {
 public:
  // Before an operation is enqueued.
  void enter(StreamBackend& stream) const {
    const std::weak_ptr<StreamBackend> here = stream.weak_from_this();
    for (const Point& last : last_) {
      const bool same = !last.stream.owner_before(here) && !here.owner_before(last.stream);
      if (!same) stream.order_after(last.event);
    }
  }
  // After it was enqueued; the event is recorded behind it.
  void leave(StreamBackend& stream, const Event& event) {
    last_[event.backend()->captured() ? 1 : 0] = {stream.weak_from_this(), event};
  }

 private:
  struct Point {
    // Weak: a stream ends when its user lets it go, and a new one at its address is another stream.
    std::weak_ptr<StreamBackend> stream;
    Event event;
  };
  // What runs, and what was captured into a graph: the one says nothing of the other.
  std::array<Point, 2> last_;
};

}  // namespace braid::detail
