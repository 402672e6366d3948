// Loads, stores and adds whose names say order and scope. A flag is an 8-byte word in global
// memory of any GPU of the node, or in mapped host memory.
#pragma once

#include <cstdint>

namespace braid::ptx {

__device__ inline std::uint64_t ld_acquire_sys_u64(const std::uint64_t* word) {
  std::uint64_t value;
  asm volatile("ld.acquire.sys.global.u64 %0, [%1];" : "=l"(value) : "l"(word) : "memory");
  return value;
}

__device__ inline std::uint32_t ld_acquire_sys_u32(const std::uint32_t* word) {
  std::uint32_t value;
  asm volatile("ld.acquire.sys.global.u32 %0, [%1];" : "=r"(value) : "l"(word) : "memory");
  return value;
}

__device__ inline std::uint32_t ld_relaxed_gpu_u32(const std::uint32_t* word) {
  std::uint32_t value;
  asm volatile("ld.relaxed.gpu.global.u32 %0, [%1];" : "=r"(value) : "l"(word) : "memory");
  return value;
}

__device__ inline void st_release_sys_u64(std::uint64_t* word, std::uint64_t value) {
  asm volatile("st.release.sys.global.u64 [%0], %1;" ::"l"(word), "l"(value) : "memory");
}

__device__ inline void st_relaxed_sys_u64(std::uint64_t* word, std::uint64_t value) {
  asm volatile("st.relaxed.sys.global.u64 [%0], %1;" ::"l"(word), "l"(value) : "memory");
}

__device__ inline std::uint32_t atom_add_relaxed_gpu_u32(std::uint32_t* word, std::uint32_t value) {
  std::uint32_t before;
  asm volatile("atom.add.relaxed.gpu.global.u32 %0, [%1], %2;"
               : "=r"(before)
               : "l"(word), "r"(value)
               : "memory");
  return before;
}

// Two words, each for itself. 16-aligned.
struct WordPair {
  std::uint64_t first, second;
};
__device__ inline WordPair ld_relaxed_sys_v2_u64(const std::uint64_t* words) {
  WordPair pair;
  asm volatile("ld.relaxed.sys.global.v2.u64 {%0, %1}, [%2];"
               : "=l"(pair.first), "=l"(pair.second)
               : "l"(words)
               : "memory");
  return pair;
}

__device__ inline void st_relaxed_sys_v2_u64(std::uint64_t* words, const WordPair& pair) {
  asm volatile("st.relaxed.sys.global.v2.u64 [%0], {%1, %2};" ::"l"(words), "l"(pair.first),
               "l"(pair.second)
               : "memory");
}

__device__ inline void st_release_sys_u32(std::uint32_t* word, std::uint32_t value) {
  asm volatile("st.release.sys.global.u32 [%0], %1;" ::"l"(word), "r"(value) : "memory");
}

__device__ inline void st_relaxed_gpu_u32(std::uint32_t* word, std::uint32_t value) {
  asm volatile("st.relaxed.gpu.global.u32 [%0], %1;" ::"l"(word), "r"(value) : "memory");
}

// Each returns what was there before.
__device__ inline std::uint32_t atom_add_release_gpu_u32(std::uint32_t* word, std::uint32_t value) {
  std::uint32_t before;
  asm volatile("atom.add.release.gpu.global.u32 %0, [%1], %2;"
               : "=r"(before)
               : "l"(word), "r"(value)
               : "memory");
  return before;
}

__device__ inline std::uint32_t atom_add_acq_rel_gpu_u32(std::uint32_t* word, std::uint32_t value) {
  std::uint32_t before;
  asm volatile("atom.add.acq_rel.gpu.global.u32 %0, [%1], %2;"
               : "=r"(before)
               : "l"(word), "r"(value)
               : "memory");
  return before;
}

__device__ inline std::uint32_t atom_exch_relaxed_gpu_u32(std::uint32_t* word,
                                                          std::uint32_t value) {
  std::uint32_t before;
  asm volatile("atom.exch.relaxed.gpu.global.b32 %0, [%1], %2;"
               : "=r"(before)
               : "l"(word), "r"(value)
               : "memory");
  return before;
}

// Stores the value where the word is the expected one.
__device__ inline std::uint32_t atom_cas_relaxed_gpu_u32(std::uint32_t* word,
                                                         std::uint32_t expected,
                                                         std::uint32_t value) {
  std::uint32_t before;
  asm volatile("atom.cas.relaxed.gpu.global.b32 %0, [%1], %2, %3;"
               : "=r"(before)
               : "l"(word), "r"(expected), "r"(value)
               : "memory");
  return before;
}

__device__ inline void red_add_relaxed_gpu_u32(std::uint32_t* word, std::uint32_t value) {
  asm volatile("red.add.relaxed.gpu.global.u32 [%0], %1;" ::"l"(word), "r"(value) : "memory");
}

__device__ inline void red_add_relaxed_gpu_u64(std::uint64_t* word, std::uint64_t value) {
  asm volatile("red.add.relaxed.gpu.global.u64 [%0], %1;" ::"l"(word), "l"(value) : "memory");
}

// Everything before it, of this thread and of those it has seen, is before what this thread stores
// relaxed at system scope afterwards: one fence for several flags.
__device__ inline void fence_acq_rel_sys() { asm volatile("fence.acq_rel.sys;" ::: "memory"); }

// After a relaxed read of what others have released: all that they did before is before what this
// thread does afterwards.
__device__ inline void fence_acq_rel_gpu() { asm volatile("fence.acq_rel.gpu;" ::: "memory"); }

// The kernel before it on the stream has ended, and what it wrote is seen. Nothing where a launch
// does not start early.
__device__ inline void griddepcontrol_wait() { asm volatile("griddepcontrol.wait;" ::: "memory"); }

// The kernel after it may take the SMs of blocks that end, once every block has said so.
__device__ inline void griddepcontrol_launch_dependents() {
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
}

// A barrier of `threads` threads of the block, of its sixteen. Who arrives does not wait; what it
// did before is seen by those who sync.
__device__ inline void barrier_cta_arrive(int barrier, int threads) {
  asm volatile("barrier.cta.arrive %0, %1;" ::"r"(barrier), "r"(threads) : "memory");
}
__device__ inline void barrier_cta_sync(int barrier, int threads) {
  asm volatile("barrier.cta.sync %0, %1;" ::"r"(barrier), "r"(threads) : "memory");
}

// On a word of the block's shared memory.
__device__ inline void red_add_relaxed_cta_shared_u32(std::uint32_t* word, std::uint32_t value) {
  const auto address = static_cast<std::uint32_t>(__cvta_generic_to_shared(word));
  asm volatile("red.relaxed.cta.shared::cta.add.u32 [%0], %1;" ::"r"(address), "r"(value)
               : "memory");
}

__device__ inline void red_or_relaxed_cta_shared_u32(std::uint32_t* word, std::uint32_t value) {
  const auto address = static_cast<std::uint32_t>(__cvta_generic_to_shared(word));
  asm volatile("red.relaxed.cta.shared::cta.or.b32 [%0], %1;" ::"r"(address), "r"(value)
               : "memory");
}

// The value is computed before any later volatile instruction; nothing else is done with it.
__device__ inline void keep(std::uint32_t value) { asm volatile("" ::"r"(value) : "memory"); }

// Nanoseconds, the same for all SMs of a GPU.
__device__ inline std::uint64_t globaltimer_ns() {
  std::uint64_t now;
  asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(now)::"memory");
  return now;
}

}  // namespace braid::ptx
