// Copies of 16 bytes from global to shared memory that a thread waits for by itself. They go by the
// generic proxy, as ordinary loads and stores do: what a thread has waited for it may read, others
// behind a barrier.
#pragma once

#include <cstdint>

#include "ptx/bulk_copy.cuh"

namespace braid::ptx {

// Part of this thread's open group. Not kept in the first-level cache.
__device__ inline void async_copy_global_to_shared(void* to, const void* from) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(shared_address(to)), "l"(from)
               : "memory");
}

__device__ inline void async_commit_group() { asm volatile("cp.async.commit_group;" ::: "memory"); }

// All of this thread's groups but the newest kPending are there.
template <int kPending>
__device__ inline void async_wait_group() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kPending) : "memory");
}

}  // namespace braid::ptx
