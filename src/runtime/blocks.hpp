// Every rank's mapped block, divided into what load and store reach and what a transport reaches.
#pragma once

#include <memory>
#include <vector>

#include "backend/cpu/shared_memory.hpp"
#include "braid/topology.hpp"
#include "transport/symmetric_memory.hpp"

namespace braid::detail {

using Blocks = std::vector<std::shared_ptr<cpu::MappedBlock>>;

// blocks: by rank, all mapped here (all ranks are on one host). The blocks of other nodes are
// handed to the transport only, so that a role can't reach them by accident.
SymmetricMemory make_symmetric_memory(int rank, const Topology& topology, Blocks blocks,
                                      std::size_t bytes);

}  // namespace braid::detail
