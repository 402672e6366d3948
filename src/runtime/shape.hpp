// From a caller's options to the numbers that layout works with, checked.
#pragma once

#include "braid/buffer.hpp"
#include "layout/local.hpp"
#include "layout/map.hpp"

namespace braid::runtime {

// What every kind of buffer is told of its rows.
struct Widths {
  int num_experts = 0;
  int max_tokens = 0;
  int hidden = 0;
  int top_k = 0;
  DispatchFormat widest_dispatch = DispatchFormat::kBf16;
};
void check_widths(const Widths& widths, int num_ranks);

// Throws kInvalidArgument naming the option, its value and what is allowed.
layout::BufferShape checked_shape(const Topology& topology, const BufferOptions& options);

MemoryPlan plan_of(const layout::BufferMap& map, const layout::LocalMap& local_map);

}  // namespace braid::runtime
