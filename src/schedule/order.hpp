// What of a schedule comes before what: lanes and edges together.
#pragma once

#include <cstdint>
#include <vector>

#include "braid/schedule.hpp"

namespace braid::schedule {

// Direct predecessors of each operation. A lane's earlier operation is one of kAfter.
struct Predecessors {
  std::vector<std::vector<int>> after;
  std::vector<std::vector<int>> tiles;
};
Predecessors predecessors(const Schedule& schedule);

// ended_before(a, b): a has ended whenever b starts.
class Order {
 public:
  // The schedule has no circle.
  explicit Order(const Schedule& schedule);
  bool ended_before(int a, int b) const {
    return (before_[static_cast<std::size_t>(b) * words_ + static_cast<std::size_t>(a) / 64] >>
                (a % 64) &
            1U) != 0;
  }
  bool at_once(int a, int b) const { return a != b && !ended_before(a, b) && !ended_before(b, a); }

 private:
  std::size_t words_;
  std::vector<std::uint64_t> before_;  // [operation][operation's bit]
};

}  // namespace braid::schedule
