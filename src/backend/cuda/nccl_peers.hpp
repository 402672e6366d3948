// The plain pointers behind an NCCL window.
#pragma once

#include <cstddef>
#include <vector>

#include "backend/cuda/nccl_headers.hpp"

namespace braid::cuda {

// The start of every rank's block, by rank, as the current device reaches it. All ranks of the
// window's communicator must be in one load/store domain (NCCL's LSA team).
std::vector<std::byte*> peers_of_window(ncclWindow_t window, int num_ranks);

}  // namespace braid::cuda
