// The parts of validate().
#pragma once

#include "schedule/order.hpp"

namespace braid::schedule {

// SMs: lanes, what can run at once, and consumers that spin.
void validate_budgets(const Schedule& schedule, const Order& order);

}  // namespace braid::schedule
