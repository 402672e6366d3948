// Who lets whom go on, the same on every rank.
#pragma once

#include <vector>

#include "braid/schedule.hpp"

namespace braid::predict {

inline bool is_send(OperationKind kind) {
  return kind == OperationKind::kDispatchSend || kind == OperationKind::kCombineSend;
}
inline bool is_receive(OperationKind kind) {
  return kind == OperationKind::kDispatchReceive || kind == OperationKind::kCombineReceive;
}

struct Relations {
  std::vector<int> after;     // whom an operation lets start when it ends
  std::vector<int> tiles;     // whom it lets start when it starts, and end when it ends
  std::vector<int> receives;  // of a send
  int num_before = 0;         // ends and starts that it waits for
  int num_producers = 0;      // of its tiles
  int num_sends = 0;          // of a receive
  bool other_lane = false;    // it waits for another lane
};

// Of each operation.
std::vector<Relations> relations(const Schedule& schedule);

}  // namespace braid::predict
