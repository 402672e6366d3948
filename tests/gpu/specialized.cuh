// Dispatch between two ranks, written for one shape by hand: what the generic role is measured
// against. One warp of a block plans and sends, the others encode.
#pragma once

#include "backend/cuda/flags.cuh"
#include "backend/cuda/rows.cuh"
#include "layout/scratch.hpp"
#include "protocol/control.hpp"
#include "ptx/bulk_copy.cuh"

namespace braid::gpu_test::special {

using namespace braid::cuda;
using layout::Word;

inline constexpr int kRanks = 2, kExperts = 64, kLocal = 32, kTopK = 8, kHidden = 7168;
inline constexpr int kWarps = 16, kThreads = kWarps * kWarpLanes, kSender = kWarps - 1;
inline constexpr int kGroups = kHidden / kScaleGroup, kEncoders = kSender * kWarpLanes;
inline constexpr int kScalesAt = kHidden, kHeaderAt = kHidden + 4 * kGroups;
inline constexpr int kPlacementsAt = kHeaderAt + 16, kMessageBytes = kPlacementsAt + 16 * kTopK;
inline constexpr int kRowBytes = 7552;

struct Counts {
  std::uint32_t rows[kExperts], messages[kRanks], namings[kRanks];
};

struct Shared {
  std::uint64_t barriers[kWarps];
  Counts before, total;
  std::uint32_t first_rows[kExperts], messages[kRanks];
  alignas(128) std::byte rows[2][kRowBytes];
  alignas(128) std::byte warp_rows[kWarps][kRowBytes];
};

struct View {
  const DispatchKernelArgs& a;
  RankFlags flags;
  Shared& s;
  int block;
  std::uint32_t epoch;
  int depth;
  int thread, warp, lane;

  __device__ const layout::BufferMap& map() const { return a.dispatch.op.map; }
  __device__ std::byte* local() const { return flags.peer(a.machine.rank); }
  __device__ const Word* word(std::int64_t at) const {
    return reinterpret_cast<const Word*>(local() + at);
  }
};

__device__ inline void count(const View& v, const int4* topk, int num_tokens, int first) {
  const bool all = v.block < kRanks;  // this block sends a notice
  const int end = all ? num_tokens : first;
  for (int base = 0; base < end; base += kThreads) {
    const int token = base + v.thread;
    if (base + v.warp * kWarpLanes >= end) continue;
    const bool exists = token < end;
    const int4 none{-1, -1, -1, -1};
    const int4 low = exists ? __ldg(topk + 2 * token) : none;
    const int4 high = exists ? __ldg(topk + 2 * token + 1) : none;
    const int experts[kTopK] = {low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w};
    std::uint32_t namings = 0;  // of rank 0 in the lower half, of rank 1 in the upper
    const bool earlier = token < first;
#pragma unroll
    for (int i = 0; i < kTopK; ++i) {
      bool repeats = false;
#pragma unroll
      for (int j = 0; j < i; ++j) repeats = repeats || experts[j] == experts[i];
      if (experts[i] < 0) continue;
      namings += experts[i] < kLocal ? 1u : 1u << 16;
      if (repeats) continue;
      if (all) ptx::red_add_relaxed_cta_shared_u32(v.s.total.rows + experts[i], 1);
      if (earlier) ptx::red_add_relaxed_cta_shared_u32(v.s.before.rows + experts[i], 1);
    }
    const std::uint32_t messages =
        ((namings & 0xffffu) != 0 ? 1u : 0u) | ((namings >> 16) != 0 ? 1u << 16 : 0u);
    const std::uint32_t in_all[2] = {__reduce_add_sync(kAllLanes, namings),
                                     __reduce_add_sync(kAllLanes, messages)};
    const std::uint32_t in_earlier[2] = {__reduce_add_sync(kAllLanes, earlier ? namings : 0),
                                         __reduce_add_sync(kAllLanes, earlier ? messages : 0)};
    if (v.lane >= kRanks) continue;
    const int shift = 16 * v.lane;
    ptx::red_add_relaxed_cta_shared_u32(v.s.total.namings + v.lane, (in_all[0] >> shift) & 0xffffu);
    ptx::red_add_relaxed_cta_shared_u32(v.s.total.messages + v.lane,
                                        (in_all[1] >> shift) & 0xffffu);
    ptx::red_add_relaxed_cta_shared_u32(v.s.before.namings + v.lane,
                                        (in_earlier[0] >> shift) & 0xffffu);
    ptx::red_add_relaxed_cta_shared_u32(v.s.before.messages + v.lane,
                                        (in_earlier[1] >> shift) & 0xffffu);
  }
}

// A word is its own flag: nothing else has to be seen before it.
__device__ inline void notify(const View& v) {
  if (v.block >= kRanks || v.warp > 1) return;
  const int peer = (v.a.machine.rank + v.block) % kRanks;
  const int me = v.a.machine.rank;
  std::byte* block = v.flags.peer(peer);
  const auto post = [&](std::int64_t at, std::uint32_t value) {
    ptx::st_relaxed_sys_u64(reinterpret_cast<Word*>(block + at), layout::make_word(v.epoch, value));
  };
  if (v.warp == 0) {
    post(v.map().count_word(v.depth, me, v.lane), v.s.total.rows[peer * kLocal + v.lane]);
  } else if (v.lane == 0) {
    post(v.map().messages_word(v.depth, me, 0), v.s.total.messages[peer]);
    post(v.map().namings_word(v.depth, me), v.s.total.namings[peer]);
  }
}

// The sender's: places of one token, and the messages' headers and placements.
struct Plan {
  std::byte* message = nullptr;  // at its destination, where this lane leads it
  Word* flag = nullptr;
};

__device__ inline Plan plan(const View& v, const std::int32_t* topk, int token) {
  const int lane = v.lane;
  const int expert = lane < kTopK ? __ldg(topk + token * kTopK + lane) : -1;
  const float weight = lane < kTopK ? __ldg(v.a.dispatch.weights + token * kTopK + lane) : 0.0F;
  const int rank = expert / kLocal;
  const unsigned of_0 = __ballot_sync(kAllLanes, expert >= 0 && rank == 0);
  const unsigned of_1 = __ballot_sync(kAllLanes, expert >= 0 && rank == 1);
  const unsigned same = __match_any_sync(kAllLanes, expert);
  const unsigned mine = rank == 0 ? of_0 : of_1;
  const unsigned below = (1u << lane) - 1;
  const bool repeats = (same & below) != 0;
  Plan plan;
  std::uint32_t row = 0, list_pos = 0, slot = 0;
  if (expert >= 0) {
    row = v.s.before.rows[expert];
    list_pos = v.s.before.namings[rank] + static_cast<std::uint32_t>(__popc(mine & below));
    slot = v.s.before.messages[rank];
  }
  __syncwarp();
  if (expert < 0) return plan;
  const int me = v.a.machine.rank;
  std::byte* peer = v.flags.peer(rank);
  std::byte* message = peer + v.map().message(v.depth, me, slot);
  layout::Placement placement;
  placement.expert_choice = layout::Placement::pack(expert % kLocal, lane, repeats);
  placement.row = row;
  placement.list_pos = list_pos;
  placement.weight = weight;
  reinterpret_cast<uint4*>(message + kPlacementsAt)[__popc(mine & below)] =
      *reinterpret_cast<const uint4*>(&placement);
  if (!repeats) v.s.before.rows[expert] = row + 1;
  if ((mine & below) == 0) {
    const auto named = static_cast<std::uint32_t>(__popc(mine));
    *reinterpret_cast<uint4*>(message + kHeaderAt) = {static_cast<std::uint32_t>(token), named, 0,
                                                      0};
    v.s.before.namings[rank] = list_pos + named;
    v.s.before.messages[rank] = slot + 1;
    plan.message = message;
    plan.flag = reinterpret_cast<Word*>(peer + v.map().arrived_flag(v.depth, me, slot));
  }
  return plan;
}

// An encoder's share of a token: two vectors of eight channels.
struct Vectors {
  uint4 x[2];
};

__device__ inline Vectors load(const View& v, std::int64_t token) {
  Vectors vectors{};
  const auto* x = reinterpret_cast<const uint4*>(v.a.dispatch.x + token * kHidden);
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const int at = v.thread + i * kEncoders;
    if (v.warp != kSender && at < kHidden / 8) vectors.x[i] = __ldg(x + at);
  }
  return vectors;
}

__device__ inline void send(const View& v) {
  const auto* topk = static_cast<const std::int32_t*>(v.a.dispatch.topk.idx);
  const int num_tokens = v.a.dispatch.topk.num_tokens;
  const Range tokens = share_of(num_tokens, v.block, v.a.machine.num_workers);
  const int first = static_cast<int>(tokens.begin), end = static_cast<int>(tokens.end);
  Vectors next = first < end ? load(v, first) : Vectors{};
  for (int i = v.thread; i < static_cast<int>(sizeof(Counts) / 2); i += kThreads) {
    reinterpret_cast<std::uint32_t*>(&v.s.before)[i] = 0;  // and v.s.total, which follows
  }
  __syncthreads();
  count(v, reinterpret_cast<const int4*>(topk), num_tokens, first);
  __syncthreads();
  notify(v);
  Plan earlier;
  for (int token = first; token < end; ++token) {
    std::byte* row = v.s.rows[(token - first) % 2];
    const Vectors now = next;
    if (token + 1 < end) next = load(v, token + 1);
    Plan planned;
    if (v.warp == kSender) {
      planned = plan(v, topk, token);
      ptx::bulk_wait_group_read_0();  // the row that the encoders write after the barrier
    } else {
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const int group = (v.thread + i * kEncoders) / 16;
        encode_eight(DispatchFormat::kFp8, now.x[i], group, group < kGroups, row, row + kScalesAt);
      }
      ptx::fence_proxy_async_shared_cta();
    }
    __syncthreads();
    if (v.warp != kSender) continue;
    if (earlier.flag != nullptr) {
      ptx::bulk_wait_group_0();
    }
    __syncwarp();
    if (earlier.flag != nullptr) {
      ptx::st_release_sys_u64(earlier.flag, layout::make_word(v.epoch, 0));
    }
    if (planned.message != nullptr) {
      ptx::bulk_copy_shared_to_global(planned.message, row, kHeaderAt);
      ptx::bulk_commit_group();
    }
    earlier = planned;
  }
  if (v.warp != kSender) return;
  ptx::bulk_wait_group_0();
  __syncwarp();
  if (earlier.flag != nullptr) {
    ptx::st_release_sys_u64(earlier.flag, layout::make_word(v.epoch, 0));
  }
}

__device__ inline std::uint32_t await(const View& v, std::int64_t at, int source) {
  return layout::value_of(
      v.flags.wait(v.word(at), v.epoch, {machine::Operation::kDispatchReceive, 0, source}, nullptr)
          .seen);
}

__device__ inline void read_notices(const View& v) {
  const protocol::OperationArgs& op = v.a.dispatch.op;
  if (v.thread < kExperts) {
    v.s.first_rows[v.thread] = await(
        v, v.map().count_word(v.depth, v.thread / kLocal, v.thread % kLocal), v.thread / kLocal);
  } else if (v.thread >= 64 && v.thread < 64 + kRanks) {
    v.s.messages[v.thread - 64] =
        await(v, v.map().messages_word(v.depth, v.thread - 64, 0), v.thread - 64);
  } else if (v.block == 0 && v.thread >= 96 && v.thread < 96 + kRanks) {
    *reinterpret_cast<std::uint32_t*>(op.local +
                                      op.local_map.terms_count(op.handle_slot, v.thread - 96)) =
        await(v, v.map().namings_word(v.depth, v.thread - 96), v.thread - 96);
  }
  __syncthreads();
  if (v.block == 0 && v.thread < kLocal) {
    const std::uint32_t rows = v.s.first_rows[v.thread] + v.s.first_rows[kLocal + v.thread];
    *reinterpret_cast<std::uint32_t*>(op.local +
                                      op.local_map.expert_count(op.handle_slot, v.thread)) = rows;
    v.a.dispatch.out_counts[v.thread] = static_cast<std::int32_t>(rows);
  }
}

__device__ inline void place(const View& v, int source) {
  const protocol::DispatchArgs& a = v.a.dispatch;
  const std::byte* row = v.s.warp_rows[v.warp];
  const auto header = *reinterpret_cast<const uint4*>(row + kHeaderAt);
  if (v.lane >= static_cast<int>(header.y)) return;
  const auto placement = reinterpret_cast<const layout::Placement*>(row + kPlacementsAt)[v.lane];
  const int expert = placement.local_expert();
  const std::uint32_t at = placement.row + (source == 0 ? 0u : v.s.first_rows[expert]);
  const std::int64_t row_idx = expert * a.op.map.shape.row_capacity() + at;
  const std::uint32_t slot = header.x * kTopK + static_cast<std::uint32_t>(placement.choice());
  *reinterpret_cast<layout::SumTerm*>(
      a.op.local + a.op.local_map.term(a.op.handle_slot, source, placement.list_pos)) = {
      slot, static_cast<std::uint32_t>(row_idx), placement.weight, 0};
  if (placement.repeat()) return;
  *reinterpret_cast<layout::RowOrigin*>(a.op.local +
                                        a.op.local_map.origin(a.op.handle_slot, expert, at)) = {
      static_cast<std::uint32_t>(source), slot};
  ptx::bulk_copy_shared_to_global(a.out_x + row_idx * kHidden, row, kHidden);
  ptx::bulk_copy_shared_to_global(a.out_scales + row_idx * (4 * kGroups), row + kScalesAt,
                                  4 * kGroups);
  ptx::bulk_commit_group();
}

__device__ inline void receive(const View& v) {
  read_notices(v);
  const int step = v.a.machine.num_workers * kWarps;
  int slot = v.warp * v.a.machine.num_workers + v.block;
  std::uint32_t parity = 0;
  for (int source = 0; source < kRanks; ++source) {
    const int messages = static_cast<int>(v.s.messages[source]);
    for (; slot < messages; slot += step) {
      const std::byte* message = v.local() + v.map().message(v.depth, source, slot);
      if (v.lane == 0) {
        await(v, v.map().arrived_flag(v.depth, source, slot), source);
        ptx::fence_proxy_async();
        ptx::mbarrier_arrive_expect_tx_release_cta(v.s.barriers + v.warp, kMessageBytes);
        ptx::bulk_copy_global_to_shared(v.s.warp_rows[v.warp], message, kMessageBytes,
                                        v.s.barriers + v.warp);
      }
      __syncwarp();
      while (!ptx::mbarrier_try_wait_parity_acquire_cta(v.s.barriers + v.warp, parity)) {
      }
      parity ^= 1;
      place(v, source);
      ptx::bulk_wait_group_0();
      __syncwarp();
    }
    slot -= messages;
  }
}

// The last block: state, then the flags that end both phases.
__device__ inline void finish(const View& v) {
  const protocol::OperationArgs& op = v.a.dispatch.op;
  layout::HandleRecord& record = protocol::record_of(op);
  bool last = false;
  __syncthreads();
  if (v.thread == 0) {
    std::uint32_t* counter = record.workers_done;
    last = ptx::atom_add_acq_rel_gpu_u32(counter, 1) ==
           static_cast<std::uint32_t>(v.a.machine.num_workers) - 1;
    if (last) ptx::st_relaxed_gpu_u32(counter, 0);
  }
  if (__syncthreads_or(static_cast<int>(last)) == 0) return;
  if (v.thread == 0) {
    record.dispatch_epoch = v.epoch;
    protocol::state_of(op).epoch = v.epoch;
  }
  if (v.thread >= kRanks) return;
  const Word word = layout::make_word(v.epoch, 0);
  const int me = v.a.machine.rank;
  v.flags.raise(v.thread, v.map().signal_flag(layout::Signal::kDispatch, v.depth, me, 0), word);
  v.flags.raise(v.thread, v.map().received_flag(v.depth, me), word);
}

__device__ inline void dispatch(const DispatchKernelArgs& a, Shared& shared, int block) {
  const int thread = static_cast<int>(threadIdx.x);
  const std::uint32_t epoch = protocol::state_of(a.dispatch.op).epoch + 1;
  const int depth = protocol::depth_of(a.dispatch.op, epoch);
  const View v{a,
               RankFlags(a.machine, a.dispatch.op.map),
               shared,
               block,
               epoch,
               depth,
               thread,
               thread / kWarpLanes,
               thread % kWarpLanes};
  const auto depths = static_cast<std::uint32_t>(a.dispatch.op.map.shape.depth);
  if (thread < kWarps) ptx::mbarrier_init(shared.barriers + thread, 1);
  ptx::fence_mbarrier_init_release_cluster();
  if (epoch > depths && thread < kRanks) {
    v.flags.wait(v.word(v.map().received_flag(depth, thread)), epoch - depths,
                 {machine::Operation::kDispatchSend, 0, thread, machine::Until::kAtLeast}, nullptr);
  }
  send(v);
  receive(v);
  finish(v);
}

}  // namespace braid::gpu_test::special
