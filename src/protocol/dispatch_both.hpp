// Dispatch's send and receive by the same workers, without a pause between them.
#pragma once

#include "protocol/dispatch.hpp"
#include "protocol/dispatch_receive.hpp"

namespace braid::protocol {

// The only round's send and receive. All workers of all ranks run it at the same time; collective
// over the worker. A worker may be receiving while others of its rank still send, so both phases
// end together where flags say all that peers wait for.
template <Machine M>
BRAID_HD void dispatch(M& m, const DispatchArgs& a) {
  const std::uint32_t epoch = detail::send_messages(m, a, 0);
  const SendEnd end{layout::Signal::kDispatch, Phase::kDispatchSend, 0, epoch,
                    &record_of(a.op).dispatch_epoch};
  // Another node's rank waits for the signal before it reads anything.
  const bool ends_together = all_reachable(m, a.rules.experts.num_ranks);
  if (!ends_together) {
    m.sync_worker();
    if (m.warp() == 0 && last_of(m, a.op, Phase::kDispatchSend)) end_send(m, a.op, end);
  }
  if (!m.failed()) detail::receive_messages(m, a, 0, epoch);
  m.sync_worker();
  if (m.warp() != 0 || !last_of(m, a.op, Phase::kDispatchReceive)) return;
  if (ends_together) end_send(m, a.op, end);
  end_receive(m, a.op, Phase::kDispatchReceive, epoch);
}

}  // namespace braid::protocol
