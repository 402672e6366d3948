// Dispatch's receive by the blocks of a GPU: from messages to rows of the experts, and the tables
// that combine reads. A message is bytes here: neither its format nor its length is compiled in.
#pragma once

#include "backend/cuda/block_dispatch_context.cuh"
#include "layout/scales.hpp"

namespace braid::cuda {

// Loads of a message that a lane has on their way: the fewer warps share it, the more.
BRAID_HD constexpr int vectors_at_once(int parts) {
  return parts == 1 ? 7 : parts == kRowWarps ? 2 : 4;
}

class DispatchReceiver {
 public:
  __device__ explicit DispatchReceiver(DispatchContext& context) : c_(context) {}

  // All of the receive but its end: the row warps'. Each arrives at kReadBarrier when it has read
  // all that it reads of the peers' bytes.
  __device__ void run() {
    if (!c_.place.has_rows()) return;
    c_.settle_ranks();
    if (!c_.failed()) read_notices();
    ptx::barrier_cta_sync(kRowBarrier, kRowThreads);
    if (c_.failed()) {
      ptx::barrier_cta_arrive(kReadBarrier, kReadThreads);
      return;
    }
    count_first_rows();
    ptx::barrier_cta_sync(kRowBarrier, kRowThreads);
    if (c_.keeps_own) place_own();
    place_messages();
  }

  // Of a kernel that only receives, the sending warp's: when all row warps of all blocks have read
  // what they read.
  __device__ void end() const {
    if (!c_.place.sends()) return;
    ptx::barrier_cta_sync(kReadBarrier, kReadThreads);
    if (c_.place.is_last(layout::Phase::kDispatchReceive) && !c_.failed()) {
      c_.place.raise_received(c_.epoch, c_.active);
    }
  }

 private:
  using Placement = layout::Placement;

  __device__ void read_notices() {
    const int words = c_.num_local() + 1;  // rows of each expert, messages
#pragma unroll 1
    for (int i = c_.place.thread; i < c_.num_ranks() * words; i += kRowThreads) {
      const auto source =
          static_cast<int>(c_.args.notice_words.quotient(static_cast<std::uint32_t>(i)));
      const int word = i - source * words;
      std::uint32_t value = 0;
      if (c_.is_active(source)) {
        const std::int64_t offset = word < c_.num_local()
                                        ? c_.a.op.map.count_word(c_.depth, source, word)
                                        : c_.a.op.map.messages_word(c_.depth, source, 0);
        const auto result = c_.place.flags.wait(c_.place.word(offset), c_.epoch,
                                                {machine::Operation::kDispatchReceive, 0, source},
                                                c_.waited(source));
        c_.note(!result.reached);
        value = layout::value_of(result.seen);
      }
      if (word < c_.num_local()) {
        c_.at<std::uint32_t>(c_.map.first_rows)[source * c_.num_local() + word] = value;
      } else {
        c_.at<std::uint32_t>(c_.map.messages)[source] = value;
      }
    }
  }

  __device__ void count_first_rows() {
#pragma unroll 1
    for (int expert = c_.place.thread; expert < c_.num_local(); expert += kRowThreads) {
      std::uint32_t rows = 0;
#pragma unroll 1
      for (int source = 0; source < c_.num_ranks(); ++source) {
        std::uint32_t& first =
            c_.at<std::uint32_t>(c_.map.first_rows)[source * c_.num_local() + expert];
        const std::uint32_t count = first;
        first = rows;
        rows += count;
      }
      if (c_.place.worker > 0) continue;
      *reinterpret_cast<std::uint32_t*>(
          c_.a.op.local + c_.a.op.local_map.expert_count(c_.a.op.handle_slot, expert)) = rows;
      c_.a.out_counts[expert] = static_cast<std::int32_t>(rows);
      if (c_.a.received_total != nullptr) c_.a.received_total[expert] += rows;
    }
  }

  // A message as a warp places a part of it: `part` of `parts`.
  struct Incoming {
    const std::byte* row = nullptr;
    std::uint32_t token = 0;
    std::uint32_t source_tokens = 0;
    int source = 0;
    int count = 0;        // of placements
    Placement placement;  // this lane's, where there is one
    int part = 0, parts = 1;
  };
  __device__ static Placement placement_of(const uint4& words) {
    return {words.x, words.y, __uint_as_float(words.z), 0};
  }

  __device__ void place_own() {
    const int count = c_.num_tokens;
    for (int i = 0; i < count; ++i) {
      c_.ring.await_first(i);
      Incoming in;
      in.row = c_.ring.first(i);
      in.token = static_cast<std::uint32_t>(c_.first_token + i);
      in.source_tokens = static_cast<std::uint32_t>(c_.a.topk.num_tokens);
      in.source = c_.place.rank();
      in.count = static_cast<int>(c_.at<std::uint32_t>(c_.map.own_counts)[i]);
      if (in.count == 0) continue;
      if (c_.place.lane < in.count) {
        in.placement = placement_of(c_.at<const uint4>(c_.map.own)[i * c_.k() + c_.place.lane]);
      }
      in.part = c_.place.warp;
      in.parts = kRowWarps;
      place<vectors_at_once(kRowWarps)>(in, false);
    }
  }

  __device__ void place_messages() {
    int total = 0;
#pragma unroll 1
    for (int source = 0; source < c_.num_ranks(); ++source) total += messages_of(source);
    const int workers = c_.place.machine.num_workers;
    // The more messages, the fewer warps share one: all of a block's, half of them, or each its
    // own.
    if (total <= workers) {
      place_messages<kRowWarps>(total);
    } else if (total <= 2 * workers) {
      place_messages<kRowWarps / 2>(total);
    } else {
      place_messages<1>(total);
    }
  }
  template <int kParts>
  __device__ void place_messages(int total) {
    constexpr int kGroups = kRowWarps / kParts;
    const int group = c_.place.warp / kParts;
    const int step = c_.place.machine.num_workers * kGroups;
    // Neighboring messages go to different blocks: few messages use all of them.
    int message = group * c_.place.machine.num_workers + c_.place.worker;
    bool arrives = false;
    for (; message < total; message += step) {
      Incoming in;
      int slot = message;
      in.part = c_.place.warp - group * kParts;
      in.parts = kParts;
#pragma unroll 1
      for (; slot >= messages_of(in.source); ++in.source) slot -= messages_of(in.source);
      bool reached = true;
      if (c_.place.lane == 0) {
        reached = c_.place.flags
                      .wait(c_.place.word(c_.a.op.map.arrived_flag(c_.depth, in.source, slot)),
                            c_.epoch, {machine::Operation::kDispatchReceive, 0, in.source},
                            in.part == 0 ? c_.waited(in.source) : nullptr)
                      .reached;
      }
      if (__shfl_sync(kAllLanes, static_cast<int>(reached), 0) == 0) {
        c_.note(true);
        break;
      }
      __syncwarp();
      in.row = c_.place.machine.local + c_.a.op.map.message(c_.depth, in.source, slot);
      const auto header = *reinterpret_cast<const uint4*>(in.row + c_.shape.header_at);
      const uint4 placed =
          c_.place.lane < c_.k()
              ? reinterpret_cast<const uint4*>(in.row + c_.shape.placements_at)[c_.place.lane]
              : uint4{};
      in.token = header.x;
      in.count = static_cast<int>(header.y);
      in.source_tokens = header.z;
      in.placement = placement_of(placed);
      arrives = message + step >= total;
      place<vectors_at_once(kParts)>(in, arrives);
    }
    if (!arrives) ptx::barrier_cta_arrive(kReadBarrier, kReadThreads);
  }
  // That come by way of a slot.
  __device__ int messages_of(int source) const {
    if (c_.keeps_own && source == c_.place.rank()) return 0;
    return static_cast<int>(c_.at<std::uint32_t>(c_.map.messages)[source]);
  }

  // A part of a message into its rows. `last`: the warp reads nothing after it.
  template <int kVectors>
  __device__ void place(const Incoming& in, bool last) {
    std::int64_t data_at = 0, scales_at = 0;  // of this lane's placement, in the outputs
    bool writes = false;
    const auto words = static_cast<int>(c_.shape.scale_bytes / layout::kScaleWordBytes);
    const layout::ScaleShape scale_shape{c_.a.scale_layout, words,
                                         c_.a.op.map.shape.row_capacity()};
    if (c_.place.lane < in.count) {
      const std::uint32_t row = keep_tables(in);
      const int expert = in.placement.local_expert();
      data_at = (expert * c_.a.op.map.shape.row_capacity() + row) * c_.shape.data_bytes;
      scales_at = scale_shape.first(expert, row);
      writes = !in.placement.repeat();
    }
    const unsigned writers = __ballot_sync(kAllLanes, writes);
    const auto vectors = static_cast<int>(c_.shape.data_bytes / 16);
    const int step = in.parts * kWarpLanes;
    const int first = in.part * kWarpLanes;
    if (first >= vectors && last) ptx::barrier_cta_arrive(kReadBarrier, kReadThreads);
    for (int base = first; base < vectors; base += kVectors * step) {
      uint4 data[kVectors] = {};
      std::uint32_t scales[kVectors] = {};
      std::uint32_t mixed = 0;
#pragma unroll
      for (int i = 0; i < kVectors; ++i) {
        const int at = base + i * step + c_.place.lane;
        if (at < vectors) data[i] = reinterpret_cast<const uint4*>(in.row)[at];
        if (at < words) {
          scales[i] = reinterpret_cast<const std::uint32_t*>(in.row + c_.shape.scales_at)[at];
        }
        mixed ^= data[i].x ^ scales[i];
      }
      if (last && base + kVectors * step >= vectors) {
        await_loads(mixed);
        ptx::barrier_cta_arrive(kReadBarrier, kReadThreads);
      }
#pragma unroll 1
      for (unsigned left = writers; left != 0; left &= left - 1) {
        const int writer = __ffs(left) - 1;
        auto* out = reinterpret_cast<uint4*>(c_.a.out_x + __shfl_sync(kAllLanes, data_at, writer));
        std::byte* out_scales = c_.a.out_scales + __shfl_sync(kAllLanes, scales_at, writer);
#pragma unroll
        for (int i = 0; i < kVectors; ++i) {
          const int at = base + i * step + c_.place.lane;
          if (at < vectors) out[at] = data[i];
          if (at < words) {
            *reinterpret_cast<std::uint32_t*>(out_scales + at * scale_shape.stride()) = scales[i];
          }
        }
      }
    }
  }

  // A placement's entries in the handle's tables; returns its row, among those of its expert.
  __device__ std::uint32_t keep_tables(const Incoming& in) const {
    const int expert = in.placement.local_expert();
    const std::uint32_t row =
        c_.at<std::uint32_t>(c_.map.first_rows)[in.source * c_.num_local() + expert] +
        in.placement.row;
    const std::int64_t row_idx = expert * c_.a.op.map.shape.row_capacity() + row;
    if (in.part != 0) return row;
    const std::uint32_t slot = in.token * static_cast<std::uint32_t>(c_.k()) +
                               static_cast<std::uint32_t>(in.placement.choice());
    const layout::LocalMap& tables = c_.a.op.local_map;
    *reinterpret_cast<uint4*>(c_.a.op.local + tables.term(c_.a.op.handle_slot, in.source, slot)) = {
        c_.epoch, static_cast<std::uint32_t>(row_idx), __float_as_uint(in.placement.weight),
        in.source_tokens};
    if (in.placement.repeat()) return row;
    *reinterpret_cast<layout::RowOrigin*>(c_.a.op.local +
                                          tables.origin(c_.a.op.handle_slot, expert, row)) = {
        static_cast<std::uint32_t>(in.source), slot};
    return row;
  }

  DispatchContext& c_;
};

}  // namespace braid::cuda
