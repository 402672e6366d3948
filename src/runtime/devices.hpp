// The one place that knows which backends this build has.
#pragma once

#include <memory>
#include <vector>

#include "braid/group.hpp"
#include "machine/device_backend.hpp"
#include "protocol/engine.hpp"
#include "transport/symmetric_memory.hpp"

namespace braid::detail {

class GroupBackend;
struct EngineRequest;

using Devices = std::vector<std::shared_ptr<DeviceBackend>>;

// Every rank's, by rank, for ranks of one process.
Devices open_devices(const Topology& topology, const GroupOptions& options);
// That of one rank that has a process of its own.
std::shared_ptr<DeviceBackend> open_device(const Topology& topology, const GroupOptions& options,
                                           int rank);

// Collective: a block in the memory of each rank's device, for ranks that are processes.
SymmetricMemory allocate_between_processes(GroupBackend& group, std::size_t bytes);

// Collective. The buffer's engine is not there yet.
std::unique_ptr<protocol::Engine> make_engine(const EngineRequest& request);

}  // namespace braid::detail
