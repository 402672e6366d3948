// One rank's flags on the GPU: raising them, waiting for them, and what happens when nobody comes.
#pragma once

#include "backend/cuda/machine_args.hpp"
#include "layout/map.hpp"
#include "ptx/memory_order.cuh"

namespace braid::cuda {

using machine::WaitResult;
using machine::WaitTag;
using machine::Word;

// Looks between two checks of the clock and of the failure words, which are loads as dear as the
// flag's own.
inline constexpr int kLooksPerCheck = 64;

// Map: of either kind of buffer.
template <class Map>
class RankFlagsOf {
 public:
  __device__ RankFlagsOf(const MachineArgs& args, const Map& map) : args_(args), map_(map) {}

  __device__ std::byte* peer(int rank) const { return args_.peers[rank]; }

  __device__ void raise(int rank, std::int64_t offset, Word word) const {
    ptx::st_release_sys_u64(reinterpret_cast<Word*>(peer(rank) + offset), word);
  }

  __device__ void post(int rank, std::int64_t offset, Word word) const {
    ptx::st_relaxed_sys_u64(reinterpret_cast<Word*>(peer(rank) + offset), word);
  }

  // One thread's wait.
  __device__ WaitResult wait(const Word* flag, std::uint32_t epoch, const WaitTag& tag,
                             std::int64_t* waited_ns) const {
    return wait_for([&] { return ptx::ld_acquire_sys_u64(flag); }, epoch, tag, waited_ns);
  }

  // A block's signal. At system scope: it may be in pinned host memory, and be raised by a copy.
  __device__ WaitResult wait_count(const std::int32_t* count, std::int32_t expected,
                                   const WaitTag& tag) const {
    const auto* word = reinterpret_cast<const std::uint32_t*>(count);
    const auto look = [word] {
      return machine::signal_word(static_cast<std::int32_t>(ptx::ld_acquire_sys_u32(word)));
    };
    return wait_for(look, static_cast<std::uint32_t>(expected), tag, nullptr);
  }

  // For several words: look() loads them all, and returns one that is not there yet if there is
  // one, else any.
  template <class Look>
  __device__ WaitResult wait_for(Look&& look, std::uint32_t epoch, const WaitTag& tag,
                                 std::int64_t* waited_ns) const {
    Word seen = look();
    if (machine::is_reached(seen, epoch, tag)) return {true, seen};
    const std::uint64_t start = ptx::globaltimer_ns();
    bool reached = false;
#pragma unroll 1
    for (int looks = 1; !reached; ++looks) {
      seen = look();
      reached = machine::is_reached(seen, epoch, tag);
      if (reached || looks % kLooksPerCheck != 0) continue;
      if (ends_wait(args_, map_, tag.operation, tag.round, tag.peer, tag.expert, tag.block, epoch,
                    seen, start)) {
        break;
      }
    }
    if (waited_ns != nullptr) {
      ptx::red_add_relaxed_gpu_u64(reinterpret_cast<std::uint64_t*>(waited_ns),
                                   ptx::globaltimer_ns() - start);
    }
    return {reached, seen};
  }

  // The operation goes on: this is not `record`, and does not set status->failed. The record is
  // free when the host has read as many as were reported: the host frees it by a store to its own
  // memory, at any time, also between the launches of a graph. Not inlined: it is next to the hot
  // path and hardly ever runs.
  static __device__ __noinline__ void report_bad_choice(const MachineArgs& args, std::int64_t token,
                                                        int choice, std::int64_t value) {
    machine::BadChoiceRecord& record = args.timeout->bad_choice;
    const std::uint32_t read = ptx::ld_acquire_sys_u32(&record.times_read);
    if (ptx::atom_cas_relaxed_gpu_u32(&args.status->bad_choices, read, read + 1) != read) return;
    record.choice = choice;
    record.token = token;
    record.value = value;
    ptx::st_release_sys_u32(&record.state, 2);
  }

 private:
  // Called, not inlined once for each wait; its arguments one by one, since a struct would go by
  // way of the stack.
  static __device__ __noinline__ bool ends_wait(const MachineArgs& args, const Map& map,
                                                machine::Operation operation, int round, int peer,
                                                int expert, int block, std::uint32_t epoch,
                                                Word seen, std::uint64_t start) {
    const RankFlagsOf flags(args, map);
    if (flags.rank_failed() || flags.heard_of_failure()) return true;
    const auto timeout_ns = static_cast<std::uint64_t>(args.timeout_ns);
    if (ptx::globaltimer_ns() - start < timeout_ns) return false;
    flags.give_up({operation, round, peer, machine::Until::kExactly, expert, block}, epoch, seen);
    return true;
  }

  __device__ bool rank_failed() const {
    return ptx::ld_relaxed_gpu_u32(&args_.status->failed) != 0;
  }

  // A peer gave up and said so. The first to see it passes the report on to the host.
  __device__ bool heard_of_failure() const {
#pragma unroll 1
    for (int peer = 0; peer < map_.shape.num_ranks; ++peer) {
      const auto* line =
          reinterpret_cast<const layout::AbortRecord*>(args_.local + map_.abort_record(peer));
      if (ptx::ld_acquire_sys_u64(&line->raised) == 0) continue;
      record({static_cast<machine::Operation>(line->operation), line->round, line->culprit,
              machine::Until::kExactly, line->expert, line->block},
             line->epoch, 0);
      return true;
    }
    return false;
  }

  __device__ void give_up(const WaitTag& tag, std::uint32_t epoch, Word seen) const {
    if (!record(tag, epoch, seen)) return;
#pragma unroll 1
    for (int peer = 0; peer < map_.shape.num_ranks; ++peer) {
      if (peer == args_.rank) continue;
      auto* line =
          reinterpret_cast<layout::AbortRecord*>(this->peer(peer) + map_.abort_record(args_.rank));
      line->culprit = tag.peer;
      line->operation = static_cast<std::int32_t>(tag.operation);
      line->round = tag.round;
      line->epoch = epoch;
      line->expert = tag.expert;
      line->block = tag.block;
      ptx::st_release_sys_u64(&line->raised, static_cast<Word>(args_.rank) + 1);
    }
  }

  // True for the first failure of the rank, which the host reads.
  __device__ bool record(const WaitTag& tag, std::uint32_t epoch, Word seen) const {
    if (ptx::atom_exch_relaxed_gpu_u32(&args_.status->failed, 1) != 0) return false;
    args_.timeout->tag = tag;
    args_.timeout->expected_epoch = epoch;
    args_.timeout->seen = seen;
    ptx::st_release_sys_u32(&args_.timeout->state, 2);
    return true;
  }

  const MachineArgs& args_;
  const Map& map_;
};

using RankFlags = RankFlagsOf<layout::BufferMap>;

}  // namespace braid::cuda
