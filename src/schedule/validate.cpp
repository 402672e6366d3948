#include "schedule/validate.hpp"

#include <optional>

#include "base/check.hpp"

namespace braid {
namespace schedule {
namespace {

using Kind = OperationKind;

void validate_ranges(const Schedule& schedule) {
  const int num_operations = static_cast<int>(schedule.operations.size());
  const int num_lanes = static_cast<int>(schedule.lanes.size());
  require(schedule.device_sms >= 1, "the schedule's device has {} SMs, but must have at least 1",
          schedule.device_sms);
  for (int i = 0; i < num_operations; ++i) {
    const Operation& op = schedule.operations[static_cast<std::size_t>(i)];
    require(op.lane >= 0 && op.lane < num_lanes, "{} is on lane {}, but there are {} lanes",
            describe(schedule, i), op.lane, num_lanes);
    require(op.num_rounds >= 1 && op.round >= 0 && op.round < op.num_rounds,
            "{} is round {} of {}, but must be from 0 to below their number, at least 1",
            describe(schedule, i), op.round, op.num_rounds);
    require(op.sms >= 0, "{} has a budget of {} SMs, but must have 0 or more",
            describe(schedule, i), op.sms);
    require(op.kind != Kind::kCustom || !op.name.empty(), "operation {} is custom without a name",
            i);
  }
  for (const Edge& edge : schedule.edges) {
    const int end = edge.from < 0 || edge.from >= num_operations ? edge.from : edge.to;
    require(end >= 0 && end < num_operations, "an edge names operation {}, but there are {}", end,
            num_operations);
  }
}

// Whose result an operation works on.
std::optional<Kind> needed(Kind kind) {
  switch (kind) {
    case Kind::kDispatchReceive: return Kind::kDispatchSend;
    case Kind::kUpGemm: return Kind::kDispatchReceive;
    case Kind::kActivation: return Kind::kUpGemm;
    case Kind::kDownGemm: return Kind::kActivation;
    case Kind::kCombineSend: return Kind::kDownGemm;
    case Kind::kCombineReceive: return Kind::kCombineSend;
    default: return {};
  }
}

bool is_communication(Kind kind) {
  return kind == Kind::kDispatchSend || kind == Kind::kDispatchReceive ||
         kind == Kind::kCombineSend || kind == Kind::kCombineReceive;
}

bool is_experts(Kind kind) {
  return kind == Kind::kUpGemm || kind == Kind::kActivation || kind == Kind::kDownGemm;
}

bool same_layer(const Operation& a, const Operation& b) {
  return a.layer == b.layer && a.micro_batch == b.micro_batch;
}

// Rounds r/n as fractions of the experts: do they share some?
bool share_experts(const Operation& a, const Operation& b) {
  return a.round * b.num_rounds < (b.round + 1) * a.num_rounds &&
         b.round * a.num_rounds < (a.round + 1) * b.num_rounds;
}

class Needs {
 public:
  Needs(const Schedule& schedule, const Order& order) : schedule_(schedule), order_(order) {}

  // Every part of what `consumer` needs is there and ordered before it, or hands it its tiles.
  void check(int consumer) const {
    const Operation& op = at(consumer);
    const auto kind = needed(op.kind);
    if (!kind) return;
    bool any = false;
    std::int64_t covered = 0, parts = 0;  // rounds of the producer that are there, and in all
    for (int i = 0; i < static_cast<int>(schedule_.operations.size()); ++i) {
      const Operation& other = at(i);
      if (other.kind != *kind || !same_layer(op, other)) continue;
      any = true;
      parts = other.num_rounds;
      if (!share_experts(op, other)) continue;
      if (!order_.ended_before(i, consumer) && !has_tiles(i, consumer)) {
        fail(ErrorCode::kInvalidArgument, "{} is not ordered behind {}, whose result it needs",
             describe(schedule_, consumer), describe(schedule_, i));
      }
      ++covered;
    }
    if (!any) {
      const bool receives = op.kind == Kind::kDispatchReceive || op.kind == Kind::kCombineReceive;
      require(!receives, "{} has no {}", describe(schedule_, consumer), to_string(*kind));
      return;
    }
    // Rounds of the producer that [round, round + 1) / num_rounds touches.
    const std::int64_t first = std::int64_t{op.round} * parts / op.num_rounds;
    const std::int64_t end =
        (std::int64_t{op.round + 1} * parts + op.num_rounds - 1) / op.num_rounds;
    require(covered == end - first, "{} needs {} rounds of {}, but {} are there",
            describe(schedule_, consumer), end - first, to_string(*kind), covered);
  }

 private:
  const Operation& at(int operation) const {
    return schedule_.operations[static_cast<std::size_t>(operation)];
  }
  bool has_tiles(int from, int to) const {
    for (const Edge& edge : schedule_.edges) {
      if (edge.kind == EdgeKind::kTiles && edge.from == from && edge.to == to) return true;
    }
    return false;
  }

  const Schedule& schedule_;
  const Order& order_;
};

// Two rounds, from and to, of one operation.
void check_pair(const Schedule& schedule, const Order& order, const Edge& pair) {
  const Operation& first = schedule.operations[static_cast<std::size_t>(pair.from)];
  const Operation& second = schedule.operations[static_cast<std::size_t>(pair.to)];
  // Sentences are made only where there is something to say: there are many pairs.
  const auto refuse = [&](const char* what) {
    fail(ErrorCode::kInvalidArgument, "{}: {} and {}", what, describe(schedule, pair.from),
         describe(schedule, pair.to));
  };
  if (first.num_rounds != second.num_rounds) refuse("cut into different numbers of rounds");
  if (first.round == second.round) refuse("the same round twice");
  // Experts may compute in any order.
  if (!is_communication(first.kind)) return;
  if (first.round < second.round && !order.ended_before(pair.from, pair.to)) {
    refuse("rounds out of order, the later is not behind the earlier");
  }
}

// Rounds of one operation share counters, and a later one relies on what an earlier one staged. Of
// experts each round is computed once.
void validate_rounds(const Schedule& schedule, const Order& order) {
  const int count = static_cast<int>(schedule.operations.size());
  for (int a = 0; a < count; ++a) {
    const Operation& first = schedule.operations[static_cast<std::size_t>(a)];
    if (!is_communication(first.kind) && !is_experts(first.kind)) continue;
    for (int b = 0; b < count; ++b) {
      const Operation& second = schedule.operations[static_cast<std::size_t>(b)];
      if (a == b || second.kind != first.kind || !same_layer(first, second)) continue;
      check_pair(schedule, order, {a, b});
    }
  }
}

void validate_signals(const Schedule& schedule) {
  for (const Edge& edge : schedule.edges) {
    if (edge.kind != EdgeKind::kTiles) continue;
    require(schedule.block_rows >= 1,
            "block_rows is {}, but {} takes tiles, whose signals stand for at least 1 row",
            schedule.block_rows, describe(schedule, edge.to));
    const Operation& to = schedule.operations[static_cast<std::size_t>(edge.to)];
    require(to.kind != Kind::kCombineSend || schedule.reduce == Reduce::kTokenRank,
            "{} takes tiles of {} and sums at the experts' rank, but block signals need token_rank",
            describe(schedule, edge.to), describe(schedule, edge.from));
  }
}

}  // namespace
}  // namespace schedule

void validate(const Schedule& schedule) {
  schedule::validate_ranges(schedule);
  const schedule::Order order(schedule);  // refuses circles
  const schedule::Needs needs(schedule, order);
  for (int i = 0; i < static_cast<int>(schedule.operations.size()); ++i) needs.check(i);
  schedule::validate_rounds(schedule, order);
  schedule::validate_signals(schedule);
  schedule::validate_budgets(schedule, order);
}

}  // namespace braid
