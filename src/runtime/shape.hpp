// From a caller's options to the numbers that layout works with, checked.
#pragma once

#include "braid/buffer.hpp"
#include "layout/local.hpp"
#include "layout/map.hpp"

namespace braid::runtime {

// Throws kInvalidArgument naming the option, its value and what is allowed.
layout::BufferShape checked_shape(const Topology& topology, const BufferOptions& options);

MemoryPlan plan_of(const layout::BufferMap& map, const layout::LocalMap& local_map);

}  // namespace braid::runtime
