// What the block roles are told: an operation's arguments and what follows from them, which the
// host works out once. A division or a layout that each thread works out again costs more than a
// flag's way to memory.
#pragma once

#include "backend/cuda/block_maps.hpp"
#include "backend/cuda/kernels.hpp"

namespace braid::cuda {

// Tokens in order, a range of them for each block; the first ranges are one longer.
struct TokenShares {
  int each = 0;
  int longer = 0;

  static TokenShares of(int tokens, int workers) { return {tokens / workers, tokens % workers}; }
  BRAID_HD int first(int worker) const { return worker * each + min_of(worker, longer); }
  BRAID_HD int count(int worker) const { return each + (worker < longer ? 1 : 0); }
  BRAID_HD int most() const { return each + (longer > 0 ? 1 : 0); }
};

struct DispatchBlockArgs {
  protocol::DispatchArgs dispatch;
  MachineArgs machine;
  layout::MessageShape shape;
  DispatchBlockMap map;
  TokenShares tokens;
  Divisor local_experts;  // from an expert to its rank
  Divisor notice_words;   // from a word of all sources' notices to its source
  int num_local = 1;
  int route_lanes_log2 = 0;   // lanes for a token's choices, four each
  bool whole_routes = false;  // four choices are one or two aligned loads
};

struct CombineBlockArgs {
  protocol::CombineArgs combine;
  MachineArgs machine;
  CombineBlockMap map;
  Divisor local_experts;
  Divisor max_tokens;
};

DispatchBlockArgs block_args(const DispatchKernelArgs& args);
CombineBlockArgs block_args(const CombineKernelArgs& args);

}  // namespace braid::cuda
