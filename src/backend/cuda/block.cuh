// What the roles that this backend replaces whole have in common: one block's place, its warps, a
// token's channels in registers, and rows on their way through shared memory.
#pragma once

#include "backend/cuda/block_constants.hpp"
#include "backend/cuda/combine_rows.cuh"
#include "backend/cuda/flags.cuh"
#include "backend/cuda/rows.cuh"
#include "protocol/control.hpp"
#include "ptx/bulk_copy.cuh"

namespace braid::cuda {

// Sixteen channels for each of a thread's units: unit u is channels 16 * (u * kRowThreads +
// thread).
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

// Rows in shared memory that some warps fill, one after another, and others empty.
class RowRing {
 public:
  static constexpr int kUnread = 2;  // newest rows that bulk copies may still be reading

  // num_rows of row_bytes each from `rows` on; barriers: [num_rows] full, [num_rows] empty.
  struct Place {
    std::byte* rows;
    std::uint64_t* barriers;
    int row_bytes;
    int num_rows;
  };
  __device__ RowRing(const Place& place, int arriving_lanes)
      : rows_(place.rows),
        row_bytes_(place.row_bytes),
        barriers_(place.barriers),
        num_rows_(place.num_rows),
        arriving_lanes_(arriving_lanes) {}

  // A warp's; before __syncthreads. How many warps make a row empty again; and full, unless a bulk
  // copy does.
  __device__ void init(int filling_warps, int emptying_warps) const {
    init_barriers(filling_warps * arriving_lanes_, emptying_warps);
  }
  __device__ void init_loaded(int emptying_warps) const { init_barriers(1, emptying_warps); }

  __device__ int turn() const { return turn_; }
  __device__ std::byte* row() const { return rows_ + turn_ * row_bytes_; }
  __device__ void next() {
    if (++turn_ < num_rows_) return;
    turn_ = 0;
    ++lap_;
  }

  // At most a lap.
  __device__ void skip(int rows) {
    turn_ += rows;
    if (turn_ < num_rows_) return;
    turn_ -= num_rows_;
    ++lap_;
  }

  // Who fills: its last content was read.
  __device__ void await_empty() const {
    if (lap_ > 0) await(empty(turn_), (lap_ - 1) & 1u);
  }
  // A warp that has written its part of the row by ordinary stores; moves on.
  __device__ void fill() {
    ptx::fence_proxy_async_shared_cta();
    arrive();
  }
  // A warp that has written what goes with the row, and nothing that a bulk copy reads.
  __device__ void arrive() {
    __syncwarp();
    if (arrives()) ptx::mbarrier_arrive_release_cta(full(turn_));
    next();
  }
  // One lane's: a bulk copy fills the row.
  __device__ void load(const void* from, std::uint32_t bytes) const {
    ptx::mbarrier_arrive_expect_tx_release_cta(full(turn_), bytes);
    ptx::bulk_copy_global_to_shared(row(), from, bytes, full(turn_));
  }

  // Who empties: all of it is there.
  __device__ void await_full() const { await(full(turn_), lap_ & 1u); }
  // A warp that has read its part of the row by ordinary loads; moves on.
  __device__ void leave() {
    __syncwarp();
    if (arrives()) ptx::mbarrier_arrive_release_cta(empty(turn_));
    next();
  }
  // A warp that has issued the row's copies as a bulk group: the row before the last one has been
  // read then. Moves on.
  __device__ void take() {
    ptx::bulk_wait_group_read<kUnread>();
    __syncwarp();
    const int turn = turn_ - kUnread;
    if (arrives() && (lap_ > 0 || turn >= 0)) {
      ptx::mbarrier_arrive_release_cta(empty(turn < 0 ? turn + num_rows_ : turn));
    }
    next();
  }

  // The same for any row of the first lap, by whoever does not move along.
  __device__ void await_first(int row) const { await(full(row), 0); }
  __device__ std::byte* first(int row) const { return rows_ + row * row_bytes_; }

 private:
  __device__ static int lane() { return static_cast<int>(threadIdx.x) % kWarpLanes; }
  // For its warp, behind __syncwarp.
  __device__ bool arrives() const { return lane() < arriving_lanes_; }
  __device__ void init_barriers(int fills, int emptying_warps) const {
#pragma unroll 1
    for (int i = lane(); i < num_rows_; i += kWarpLanes) {
      ptx::mbarrier_init(barriers_ + i, static_cast<std::uint32_t>(fills));
      ptx::mbarrier_init(barriers_ + num_rows_ + i,
                         static_cast<std::uint32_t>(emptying_warps * arriving_lanes_));
    }
    ptx::fence_mbarrier_init_release_cluster();
  }
  __device__ std::uint64_t* full(int row) const { return barriers_ + row; }
  __device__ std::uint64_t* empty(int row) const { return barriers_ + num_rows_ + row; }
  __device__ static void await(std::uint64_t* barrier, std::uint32_t parity) {
    while (!ptx::mbarrier_try_wait_parity_acquire_cta(barrier, parity)) {
    }
  }

  std::byte* rows_;
  int row_bytes_;
  std::uint64_t* barriers_;
  int num_rows_;
  int arriving_lanes_;
  int turn_ = 0;
  std::uint32_t lap_ = 0;
};

// The sending warp's rows on their way: a flag is raised when its row has arrived. A batch's flags
// come behind one fence, which costs as much as the way of a row; a lane has at most one flag of a
// row, and has issued that row's bulk copy itself.
class SentRows {
 public:
  __device__ explicit SentRows(std::uint32_t epoch) : word_(layout::make_word(epoch, 0)) {}

  // After a row's copies were issued.
  __device__ void add(Word* flag) {
    ptx::bulk_commit_group();
#pragma unroll
    for (int i = 1; i < kFlags; ++i) flags_[i - 1] = flags_[i];
    flags_[kFlags - 1] = flag;
    if (++count_ < kFlags) return;
    ptx::bulk_wait_group<kBatchRows>();
    raise<kBatchRows>();
    count_ -= kBatchRows;
  }
  __device__ void finish() {
    if (count_ == 0) return;
    ptx::bulk_wait_group<0>();
    raise<kFlags>();
  }

 private:
  static constexpr int kFlags = 2 * kBatchRows;

  // The oldest kCount places, those that are taken.
  template <int kCount>
  __device__ void raise() {
    __syncwarp();  // what other lanes stored beside the rows
    ptx::fence_acq_rel_sys();
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      if (flags_[i] != nullptr) ptx::st_relaxed_sys_u64(flags_[i], word_);
      flags_[i] = nullptr;
    }
  }

  Word* flags_[kFlags] = {};
  int count_ = 0;
  Word word_;
};

// After it every lane has in hand what it has loaded: a ballot of values that are in registers.
__device__ inline void await_loads(std::uint32_t mixed) {
  ptx::keep(__ballot_sync(kAllLanes, mixed == 0x9e3779b9u));
}

// Which lanes of [first, first + count) have this lane's value: bit 0 is the first one's. (Few
// lanes are asked for: the GPU's own match takes a turn for each value that there is.)
__device__ inline unsigned lanes_with(int value, int first, int count) {
  unsigned lanes = 0;
#pragma unroll 8
  for (int i = 0; i < count; ++i) {
    lanes |= (__shfl_sync(kAllLanes, value, first + i) == value ? 1u : 0u) << i;
  }
  return lanes;
}
__device__ inline unsigned lanes_below(int lane) { return (1u << lane) - 1; }

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
        lane(thread % kWarpLanes) {
    if (machine.takes_device) ptx::griddepcontrol_launch_dependents();
    ptx::griddepcontrol_wait();
  }

  __device__ int rank() const { return machine.rank; }
  __device__ int num_ranks() const { return op.map.shape.num_ranks; }
  __device__ bool has_rows() const { return warp < kRowWarps; }
  __device__ bool is_ahead() const { return warp == kAheadWarp; }
  __device__ bool sends() const { return warp == kSendingWarp; }
  __device__ const Word* word(std::int64_t at) const {
    return reinterpret_cast<const Word*>(machine.local + at);
  }
  // [R], in memory, so that a change reaches a captured graph.
  __device__ const std::uint32_t* active() const {
    return reinterpret_cast<const std::uint32_t*>(op.local + op.local_map.active.offset);
  }
  // A lane's look at the flags that await_depth waits for, before it is known which: the epoch
  // comes from memory too, and one way to memory is enough.
  __device__ Word peek_depths() const {
    if (lane >= op.map.shape.depth * num_ranks()) return 0;
    const int depth = lane / num_ranks();
    return ptx::ld_acquire_sys_u64(word(op.map.received_flag(depth, lane - depth * num_ranks())));
  }

  // A warp's: waits until every rank has received what this depth held before. True where one did
  // not come.
  __device__ bool await_depth(Word peeked, std::uint32_t epoch, std::uint32_t active_ranks,
                              const WaitTag& what, std::int64_t* waited_ns) const {
    const auto depths = static_cast<std::uint32_t>(op.map.shape.depth);
    if (epoch <= depths) return false;
    const int depth = protocol::depth_of(op, epoch);
    const int from = depth * num_ranks() + lane;
    const Word seen = __shfl_sync(kAllLanes, peeked, from < kWarpLanes ? from : 0);
    const WaitTag tag{what.operation, 0, lane, machine::Until::kAtLeast};
    const bool reached = from < kWarpLanes && machine::is_reached(seen, epoch - depths, tag);
    bool missed = false;
    if ((active_ranks >> lane & 1u) != 0 && !reached) {
      std::int64_t* waited = waited_ns == nullptr ? nullptr : waited_ns + lane;
      const Word* flag = word(op.map.received_flag(depth, lane));
      missed = !flags.wait(flag, epoch - depths, tag, waited).reached;
    }
    return __any_sync(kAllLanes, missed) != 0;
  }

  // Of blocks that have come to a phase's end; of a kernel that sends, that have left the state.
  __device__ std::uint32_t* counter(layout::Phase phase) const {
    return &protocol::record_of(op).workers_done[static_cast<int>(phase)];
  }
  // The sending warp's: whether this block is the phase's last; the counter starts over.
  __device__ bool is_last(layout::Phase phase) const {
    bool last = false;
    if (lane == 0) {
      const auto others = static_cast<std::uint32_t>(machine.num_workers - 1);
      last = ptx::atom_add_acq_rel_gpu_u32(counter(phase), 1) == others;
      if (last) ptx::st_relaxed_gpu_u32(counter(phase), 0);
    }
    last = __shfl_sync(kAllLanes, static_cast<int>(last), 0) != 0;
    __syncwarp();  // what lane 0 has acquired
    return last;
  }

  // What the operation before has left unsaid (protocol::raise_unraised). A warp's.
  __device__ void raise_unraised(std::uint32_t epoch, std::uint32_t active_ranks) const {
    if (epoch != 0 && worker == 0) raise_received(epoch, active_ranks);
  }

  // The sending warp's, after a barrier of the block by which every warp has read the state. Lane
  // 0's answer, how many blocks came before, is on its way while other things are done.
  __device__ std::uint32_t leave_state(layout::Phase phase) const {
    return lane == 0 ? ptx::atom_add_release_gpu_u32(counter(phase), 1) : 0;
  }
  // With that answer: the last block to leave the state stores what the next kernel is to read.
  __device__ void move_state(layout::Phase phase, std::uint32_t came_before, std::uint32_t epoch,
                             std::uint32_t unraised, std::uint32_t* recorded_epoch) const {
    if (lane != 0 || came_before != static_cast<std::uint32_t>(machine.num_workers - 1)) return;
    ptx::fence_acq_rel_gpu();  // after all that the others have read
    ptx::st_relaxed_gpu_u32(counter(phase), 0);
    *recorded_epoch = epoch;
    protocol::state_of(op).epoch = epoch;
    protocol::state_of(op).unraised = unraised;
  }

  // A warp's: tells every active peer that this depth may be written again.
  __device__ void raise_received(std::uint32_t epoch, std::uint32_t active_ranks) const {
    if ((active_ranks >> lane & 1u) == 0) return;
    const int depth = protocol::depth_of(op, epoch);
    flags.raise(lane, op.map.received_flag(depth, rank()), layout::make_word(epoch, 0));
  }
};

}  // namespace braid::cuda
