// Where experts live: expert e is local expert e % Le of rank e / Le, and local expert l runs in
// round l / (Le/G) on every rank at once.
#pragma once

#include "base/device.hpp"

namespace braid {

struct ExpertMap {
  int num_experts = 1;  // E
  int num_ranks = 1;    // R; divides E
  int num_rounds = 1;   // G; divides E/R

  BRAID_HD constexpr int num_local() const { return num_experts / num_ranks; }
  BRAID_HD constexpr int per_round() const { return num_local() / num_rounds; }
  BRAID_HD constexpr int rank_of(int expert) const { return expert / num_local(); }
  BRAID_HD constexpr int local_of(int expert) const { return expert % num_local(); }
  BRAID_HD constexpr int round_of_local(int local) const { return local / per_round(); }
  BRAID_HD constexpr int round_of(int expert) const { return round_of_local(local_of(expert)); }
};

}  // namespace braid
