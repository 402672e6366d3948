#include <string>

#include "base/check.hpp"
#include "schedule/validate.hpp"

namespace braid::schedule {
namespace {

// Looks through the sets of operations that can run at once for one that takes too many SMs. Such
// a set has one operation of a lane at most, since a lane is a chain, and what can run beside an
// operation is a short stretch of each other lane: few sets.
class AtOnce {
 public:
  AtOnce(const Schedule& schedule, const Order& order) : schedule_(schedule), order_(order) {
    lanes_.resize(schedule.lanes.size());
    for (int i = 0; i < static_cast<int>(schedule.operations.size()); ++i) {
      const Operation& op = schedule.operations[static_cast<std::size_t>(i)];
      if (op.sms > 0) lanes_[static_cast<std::size_t>(op.lane)].push_back(i);
    }
  }

  void check() { extend(0, 0); }

 private:
  void extend(std::size_t lane, int sms) {
    if (sms > schedule_.device_sms) refuse(sms);
    if (lane == lanes_.size()) return;
    extend(lane + 1, sms);
    for (const int next : lanes_[lane]) {
      bool fits = true;
      for (const int other : chosen_) fits = fits && order_.at_once(other, next);
      if (!fits) continue;
      chosen_.push_back(next);
      extend(lane + 1, sms + schedule_.operations[static_cast<std::size_t>(next)].sms);
      chosen_.pop_back();
    }
  }

  [[noreturn]] void refuse(int sms) const {
    std::string names;
    for (std::size_t i = 0; i < chosen_.size(); ++i) {
      if (i > 0) names += i + 1 == chosen_.size() ? " and " : ", ";
      names += fmt::format("{} ({} SMs)", describe(schedule_, chosen_[i]),
                           schedule_.operations[static_cast<std::size_t>(chosen_[i])].sms);
    }
    fail(ErrorCode::kInvalidArgument, "{} can run at once and take {} SMs, but the device has {}",
         names, sms, schedule_.device_sms);
  }

  const Schedule& schedule_;
  const Order& order_;
  std::vector<std::vector<int>> lanes_;
  std::vector<int> chosen_;
};

}  // namespace

void validate_budgets(const Schedule& schedule, const Order& order) {
  const auto& operations = schedule.operations;
  for (int i = 0; i < static_cast<int>(operations.size()); ++i) {
    const Operation& op = operations[static_cast<std::size_t>(i)];
    const Lane& lane = schedule.lanes[static_cast<std::size_t>(op.lane)];
    const int limit = lane.sms > 0 ? lane.sms : schedule.device_sms;
    require(op.sms <= limit, "{} takes {} SMs, but {} has {}", describe(schedule, i), op.sms,
            lane.sms > 0 ? "lane " + lane.name : "the device", limit);
  }
  for (const Edge& edge : schedule.edges) {
    if (edge.kind != EdgeKind::kTiles) continue;
    const int from = operations[static_cast<std::size_t>(edge.from)].sms;
    const int to = operations[static_cast<std::size_t>(edge.to)].sms;
    require(from >= 1 && to >= 1, "{} takes tiles of {}, but both need a budget of SMs",
            describe(schedule, edge.to), describe(schedule, edge.from));
    require(from + to <= schedule.device_sms,
            "{} spins on {} SMs for tiles of {}, which takes {}, and could starve it: the device "
            "has {}",
            describe(schedule, edge.to), to, describe(schedule, edge.from), from,
            schedule.device_sms);
  }
  AtOnce(schedule, order).check();
}

}  // namespace braid::schedule
