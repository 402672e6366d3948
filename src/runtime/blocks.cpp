#include "runtime/blocks.hpp"

#include <utility>

#include "transport/shm.hpp"

namespace braid::detail {

SymmetricMemory make_symmetric_memory(int rank, const Topology& topology, Blocks blocks,
                                      std::size_t bytes) {
  SymmetricMemory memory;
  memory.bytes = bytes;
  memory.local = blocks[static_cast<std::size_t>(rank)]->data();
  std::vector<std::byte*> remote;
  for (int peer = 0; peer < topology.num_ranks; ++peer) {
    std::byte* data = blocks[static_cast<std::size_t>(peer)]->data();
    const bool near = topology.same_node(rank, peer);
    memory.peers.push_back(near ? data : nullptr);
    remote.push_back(near ? nullptr : data);
  }
  const auto mapping = std::make_shared<Blocks>(std::move(blocks));
  memory.mapping = mapping;
  if (topology.num_nodes() > 1) {
    memory.transport = std::make_shared<ShmTransport>(std::move(remote), bytes, mapping);
  }
  return memory;
}

}  // namespace braid::detail
