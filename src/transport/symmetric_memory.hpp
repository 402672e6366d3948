// One block of the same size on every rank, as one rank can reach them.
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "transport/transport.hpp"

namespace braid {

struct SymmetricMemory {
  std::size_t bytes = 0;          // of each rank's block; zero-filled when allocated
  std::vector<std::byte*> peers;  // by rank; null where load and store can't reach (other nodes)
  std::byte* local = nullptr;     // this rank's own block, 4096-aligned
  std::shared_ptr<Transport> transport;  // for the ranks of other nodes; null with one node
  std::shared_ptr<void> mapping;         // keeps the memory alive
};

}  // namespace braid
