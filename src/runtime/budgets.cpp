#include "runtime/budgets.hpp"

#include "runtime/buffer_state.hpp"
#include "runtime/tensor_checks.hpp"

namespace braid::runtime {
namespace {

void set(const char* phase, int workers, const protocol::Budget& budget, int& chosen) {
  if (workers == 0) return;
  check_workers(phase, workers, budget);
  chosen = workers;
}

}  // namespace

void set_dispatch_workers(const Handle& handle, const PhaseWorkers& workers) {
  detail::HandleState& h = handle.state();
  const protocol::Budget& budget = h.buffer->engine->budget();
  set("send", workers.send, budget, h.dispatch_options.send_workers);
  set("receive", workers.receive, budget, h.dispatch_options.receive_workers);
}

void set_combine_workers(const Handle& handle, const PhaseWorkers& workers) {
  detail::HandleState& h = handle.state();
  const protocol::Budget& budget = h.buffer->engine->budget();
  set("send", workers.send, budget, h.combine_options.send_workers);
  set("receive", workers.receive, budget, h.combine_options.receive_workers);
}

}  // namespace braid::runtime
