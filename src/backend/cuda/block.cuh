// What the roles that this backend replaces whole have in common: one block's place, its warps, and
// a token's channels in registers.
//
// Fifteen warps work on rows, the sixteenth plans, sends and keeps the flags: a seventeenth would
// leave each thread 96 registers instead of 128.
#pragma once

#include "backend/cuda/flags.cuh"
#include "backend/cuda/combine_rows.cuh"
#include "protocol/control.hpp"
#include "ptx/bulk_copy.cuh"

namespace braid::cuda {

inline constexpr int kRowWarps = 15;
inline constexpr int kRowThreads = kRowWarps * kWarpLanes;
inline constexpr int kBlockWarps = kRowWarps + 1;
inline constexpr int kBlockThreads = kBlockWarps * kWarpLanes;
inline constexpr int kSendingWarp = kRowWarps;
inline constexpr int kUnitChannels = 16;  // of a row, that a thread has at a time
inline constexpr int kMostUnits = 2;      // of a row, that a thread has
inline constexpr int kMostBlockHidden = kMostUnits * kRowThreads * kUnitChannels;

// Tokens whose rows are on their way to their destinations, and the places that rows wait in.
inline constexpr int kTurns = 4;
inline constexpr int kRingRows = kTurns + 1;

// Named barriers of a block; 0 is __syncthreads.
inline constexpr int kReadBarrier = 1;

// Sixteen channels for each of a thread's units: unit u is channels 16 * (u * kRowThreads + thread).
template <int kUnits>
struct Channels {
  uint4 low[kUnits], high[kUnits];
};

__device__ inline int unit_of(int u) { return u * kRowThreads + static_cast<int>(threadIdx.x); }

// Past the row's end there are zeros.
template <int kUnits>
__device__ inline void load_channels(Channels<kUnits>& x, const void* row, int hidden) {
  const auto* vectors = static_cast<const uint4*>(row);
  const int count = hidden / 8;
#pragma unroll
  for (int u = 0; u < kUnits; ++u) {
    const int at = 2 * unit_of(u);
    x.low[u] = at < count ? vectors[at] : uint4{};
    x.high[u] = at + 1 < count ? vectors[at + 1] : uint4{};
  }
}

template <int kUnits>
__device__ inline void store_channels(const Channels<kUnits>& x, void* row, int hidden) {
  auto* vectors = static_cast<uint4*>(row);
  const int count = hidden / 8;
#pragma unroll
  for (int u = 0; u < kUnits; ++u) {
    const int at = 2 * unit_of(u);
    if (at < count) vectors[at] = x.low[u];
    if (at + 1 < count) vectors[at + 1] = x.high[u];
  }
}

// The eight lanes of a group stand together. data and scales as codec::encode_dispatch gives them.
template <int kUnits>
__device__ inline void encode_channels(DispatchFormat format, const Channels<kUnits>& x, int hidden,
                                       std::byte* data, std::byte* scales) {
  const int num_groups = hidden / kScaleGroup;
#pragma unroll
  for (int u = 0; u < kUnits; ++u) {
    std::uint32_t most = __vmaxu2(pair_max(x.low[u]), pair_max(x.high[u]));
#pragma unroll
    for (int step = 4; step > 0; step /= 2) {
      most = __vmaxu2(most, __shfl_xor_sync(kAllLanes, most, step));
    }
    const std::uint32_t amax = max_of(most & 0xffffu, most >> 16);
    const int group = unit_of(u) / 8;
    if (group >= num_groups) continue;
    const codec::GroupScale scale = codec::group_scale(format, static_cast<std::uint16_t>(amax));
    const uint4 &a = x.low[u], &b = x.high[u];
    reinterpret_cast<uint4*>(data)[unit_of(u)] = {
        four_codes(a.x, a.y, scale.inverse), four_codes(a.z, a.w, scale.inverse),
        four_codes(b.x, b.y, scale.inverse), four_codes(b.z, b.w, scale.inverse)};
    if (unit_of(u) % 8 != 0) continue;
    if (format == DispatchFormat::kFp8Ue8m0) {
      scales[group] = static_cast<std::byte>(codec::scale_to_ue8m0(scale.scale));
    } else {
      reinterpret_cast<float*>(scales)[group] = scale.scale;
    }
  }
}

// The sending warp's rows on their way home or to the experts: a row's flags are raised when it has
// arrived, kTurns - 1 rows later, so that nobody waits for the link. A lane has at most one flag of
// a row, and has issued that flag's bulk copy itself.
class SentRows {
 public:
  __device__ explicit SentRows(std::uint32_t epoch) : word_(layout::make_word(epoch, 0)) {}

  // After a row's copies were issued. What was sent kTurns rows before has left shared memory.
  __device__ void add(Word* flag) {
    ptx::bulk_commit_group();
    if (count_ >= kTurns - 1) {
      ptx::bulk_wait_group<kTurns - 1>();
      raise(flags_[0]);
    }
    flags_[0] = flags_[1];
    flags_[1] = flags_[2];
    flags_[2] = flag;
    ++count_;
  }
  __device__ void finish() const {
    if (count_ >= 3) ptx::bulk_wait_group<2>();
    if (count_ >= 3) raise(flags_[0]);
    if (count_ >= 2) ptx::bulk_wait_group<1>();
    if (count_ >= 2) raise(flags_[1]);
    ptx::bulk_wait_group<0>();
    if (count_ >= 1) raise(flags_[2]);
  }

 private:
  __device__ void raise(Word* flag) const {
    __syncwarp();  // what other lanes stored beside the row
    if (flag != nullptr) ptx::st_release_sys_u64(flag, word_);
  }

  static_assert(kTurns == 4, "as many flags are kept, and each wait is an immediate");
  Word* flags_[kTurns - 1] = {};
  int count_ = 0;
  Word word_;
};

// One block of one rank's launch.
struct BlockPlace {
  const MachineArgs& machine;
  const protocol::OperationArgs& op;
  RankFlags flags;
  int worker;
  int thread, warp, lane;

  __device__ BlockPlace(const MachineArgs& machine_args, const protocol::OperationArgs& op_args,
                        int this_worker)
      : machine(machine_args),
        op(op_args),
        flags(machine_args, op_args.map),
        worker(this_worker),
        thread(static_cast<int>(threadIdx.x)),
        warp(thread / kWarpLanes),
        lane(thread % kWarpLanes) {}

  __device__ int rank() const { return machine.rank; }
  __device__ int num_ranks() const { return op.map.shape.num_ranks; }
  __device__ bool sends() const { return warp == kSendingWarp; }
  __device__ const Word* word(std::int64_t at) const {
    return reinterpret_cast<const Word*>(machine.local + at);
  }

  // A lane for a rank: waits until it has received what this depth held before. True where one
  // did not come.
  __device__ bool await_depth(std::uint32_t epoch, int depth, machine::Operation operation,
                              const std::uint32_t* active, std::int64_t* waited_ns) const {
    const auto depths = static_cast<std::uint32_t>(op.map.shape.depth);
    if (epoch <= depths) return false;
    bool missed = false;
    for (int peer = lane; peer < num_ranks(); peer += kWarpLanes) {
      if (active[peer] == 0) continue;
      const WaitTag tag{operation, 0, peer, machine::Until::kAtLeast};
      std::int64_t* waited = waited_ns == nullptr ? nullptr : waited_ns + peer;
      const Word* flag = word(op.map.received_flag(depth, peer));
      missed |= !flags.wait(flag, epoch - depths, tag, waited).reached;
    }
    return missed;
  }

  // The sending warp's: whether this block is the phase's last; the counter starts over.
  __device__ bool is_last(layout::Phase phase) const {
    bool last = false;
    if (lane == 0) {
      std::uint32_t* counter = &protocol::record_of(op).workers_done[static_cast<int>(phase)];
      const auto others = static_cast<std::uint32_t>(machine.num_workers - 1);
      last = ptx::atom_add_acq_rel_gpu_u32(counter, 1) == others;
      if (last) ptx::st_relaxed_gpu_u32(counter, 0);
    }
    return __shfl_sync(kAllLanes, static_cast<int>(last), 0) != 0;
  }

  // A warp of the last block's: tells every active peer that this depth may be written again.
  __device__ void raise_received(std::uint32_t epoch, int depth, const std::uint32_t* active) const {
    for (int peer = lane; peer < num_ranks(); peer += kWarpLanes) {
      if (active[peer] == 0) continue;
      flags.raise(peer, op.map.received_flag(depth, rank()), layout::make_word(epoch, 0));
    }
  }
};

}  // namespace braid::cuda
