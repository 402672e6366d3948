#include "predict/relations.hpp"

#include "schedule/order.hpp"

namespace braid::predict {
namespace {

bool feeds(const Operation& send, const Operation& receive) {
  const OperationKind kind = receive.kind == OperationKind::kDispatchReceive
                                 ? OperationKind::kDispatchSend
                                 : OperationKind::kCombineSend;
  return send.kind == kind && send.layer == receive.layer &&
         send.micro_batch == receive.micro_batch &&
         send.round * receive.num_rounds < (receive.round + 1) * send.num_rounds &&
         receive.round * send.num_rounds < (send.round + 1) * receive.num_rounds;
}

}  // namespace

std::vector<Relations> relations(const Schedule& schedule) {
  const schedule::Predecessors before = schedule::predecessors(schedule);
  const auto& operations = schedule.operations;
  std::vector<Relations> all(operations.size());
  for (std::size_t to = 0; to < operations.size(); ++to) {
    Relations& own = all[to];
    own.num_before = static_cast<int>(before.after[to].size() + before.tiles[to].size());
    own.num_producers = static_cast<int>(before.tiles[to].size());
    for (const int from : before.after[to]) {
      const auto at = static_cast<std::size_t>(from);
      all[at].after.push_back(static_cast<int>(to));
      own.other_lane = own.other_lane || operations[at].lane != operations[to].lane;
    }
    for (const int from : before.tiles[to]) {
      all[static_cast<std::size_t>(from)].tiles.push_back(static_cast<int>(to));
    }
    if (!is_receive(operations[to].kind)) continue;
    for (std::size_t send = 0; send < operations.size(); ++send) {
      if (!is_send(operations[send].kind) || !feeds(operations[send], operations[to])) continue;
      all[send].receives.push_back(static_cast<int>(to));
      ++own.num_sends;
    }
  }
  return all;
}

}  // namespace braid::predict
