// What a machine is told beside the operation's arguments: one rank's reach and its failures.
#pragma once

#include <cstddef>
#include <cstdint>

#include "backend/cuda/shared_map.hpp"
#include "machine/machine.hpp"

namespace braid::cuda {

// In the rank's own device memory, zeroed at set-up.
struct RankStatus {
  std::uint32_t failed = 0;  // 1 once an operation of this rank met a failure; the first one wins
  std::uint32_t bad_choices = 0;  // how often a top-k value was reported
  std::uint32_t reserved[30] = {};
};

struct MachineArgs {
  int rank = 0;
  int num_workers = 1;                // blocks of this launch that are this rank's
  std::byte* const* peers = nullptr;  // [R] in device memory: each rank's symmetric block
  std::byte* local = nullptr;         // this rank's own
  RankStatus* status = nullptr;
  machine::TimeoutRecord* timeout = nullptr;  // mapped, pinned host memory
  std::int64_t timeout_ns = 0;
  // Nobody else waits for SMs of this GPU: blocks may be there when the last launch lets them.
  bool starts_early = false;
  // The launch takes all SMs, and lets the next one's blocks come as soon as one is free: they take
  // nothing that somebody was promised. Other launches let them come at their end.
  bool takes_device = false;
  // Of a warp that arrives at a ring's barrier, behind __syncwarp, which makes one lane's arrival
  // enough. racecheck takes an access for ordered only if its own lane arrives: it wants all of
  // them.
  int arriving_lanes = 1;
  SharedMap shared;
  // Of the first blocks, where they send (before they receive, if they do) and the others don't.
  SharedMap sending;
  int sending_workers = 0;
};

}  // namespace braid::cuda
