#include "schedule/order.hpp"

#include <algorithm>

#include "base/check.hpp"

namespace braid {
namespace schedule {
namespace {

// Depth first from every operation in turn; finds the circle where there is one.
class Sorter {
 public:
  explicit Sorter(const Schedule& schedule)
      : schedule_(schedule), before_(predecessors(schedule)), states_(schedule.operations.size()) {}

  std::vector<int> sorted() {
    for (int i = 0; i < static_cast<int>(states_.size()); ++i) visit(i);
    return std::move(sorted_);
  }

 private:
  enum class State : std::uint8_t { kNew, kOpen, kDone };

  void visit(int operation) {
    const auto at = static_cast<std::size_t>(operation);
    if (states_[at] == State::kDone) return;
    if (states_[at] == State::kOpen) refuse_circle(operation);
    states_[at] = State::kOpen;
    path_.push_back(operation);
    for (const int before : before_.after[at]) visit(before);
    for (const int before : before_.tiles[at]) visit(before);
    path_.pop_back();
    states_[at] = State::kDone;
    sorted_.push_back(operation);
  }

  // The path runs from who waits to whom it waits for.
  [[noreturn]] void refuse_circle(int operation) const {
    std::string circle;
    for (auto at = std::find(path_.begin(), path_.end(), operation); at != path_.end(); ++at) {
      circle += describe(schedule_, *at) + " waits for ";
    }
    fail(ErrorCode::kInvalidArgument, "operations wait for each other in a circle: {}{}", circle,
         describe(schedule_, operation));
  }

  const Schedule& schedule_;
  Predecessors before_;
  std::vector<State> states_;
  std::vector<int> path_, sorted_;
};

}  // namespace

Predecessors predecessors(const Schedule& schedule) {
  Predecessors found;
  found.after.resize(schedule.operations.size());
  found.tiles.resize(schedule.operations.size());
  std::vector<int> last(schedule.lanes.size(), -1);
  for (std::size_t i = 0; i < schedule.operations.size(); ++i) {
    int& lane_last = last[static_cast<std::size_t>(schedule.operations[i].lane)];
    if (lane_last >= 0) found.after[i].push_back(lane_last);
    lane_last = static_cast<int>(i);
  }
  for (const Edge& edge : schedule.edges) {
    auto& kind = edge.kind == EdgeKind::kAfter ? found.after : found.tiles;
    kind[static_cast<std::size_t>(edge.to)].push_back(edge.from);
  }
  return found;
}

Order::Order(const Schedule& schedule)
    : words_((schedule.operations.size() + 63) / 64), before_(schedule.operations.size() * words_) {
  const Predecessors direct = predecessors(schedule);
  // What has ended once an operation has: itself, what ended before it, and the producers of its
  // tiles, all of which it has consumed.
  std::vector<std::uint64_t> with(before_.size());
  for (const int operation : start_order(schedule)) {
    const auto at = static_cast<std::size_t>(operation);
    const auto add = [&](std::vector<std::uint64_t>& to, int from) {
      for (std::size_t word = 0; word < words_; ++word) {
        to[at * words_ + word] |= with[static_cast<std::size_t>(from) * words_ + word];
      }
    };
    for (const int before : direct.after[at]) add(before_, before);
    std::copy_n(before_.begin() + static_cast<std::ptrdiff_t>(at * words_), words_,
                with.begin() + static_cast<std::ptrdiff_t>(at * words_));
    for (const int before : direct.tiles[at]) add(with, before);
    with[at * words_ + at / 64] |= std::uint64_t{1} << (at % 64);
  }
}

}  // namespace schedule

std::vector<int> start_order(const Schedule& schedule) {
  return schedule::Sorter(schedule).sorted();
}

}  // namespace braid
