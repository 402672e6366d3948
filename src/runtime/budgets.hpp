// Budgets of the phases of an operation that has begun: its rounds may have different ones.
#pragma once

#include "braid/buffer.hpp"

namespace braid::runtime {

// Of the operation's phases that are enqueued from now on. 0: as it was. Throw kInvalidArgument for
// more workers than there are.
struct PhaseWorkers {
  int send = 0;
  int receive = 0;
};
void set_dispatch_workers(const Handle& handle, const PhaseWorkers& workers);
void set_combine_workers(const Handle& handle, const PhaseWorkers& workers);

}  // namespace braid::runtime
