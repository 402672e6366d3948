// Dispatch's whole role for blocks of a GPU: one round, one copy a rank. Layout, flags and what they
// promise are those of src/protocol; the work is shared out for this machine.
//
// A block has a few tokens. The row warps hold a token's channels in registers, encode it into
// shared memory, and go on to the next; the planning warp finds its places meanwhile, and the
// sending warp takes it away. Where both phases are one launch, the block's own rows go from shared
// memory to its own rank's experts: they cross no slot.
#pragma once

#include "backend/cuda/block.cuh"
#include "backend/cuda/block_maps.hpp"
#include "backend/cuda/kernels.hpp"
#include "layout/scales.hpp"

namespace braid::cuda {

template <bool kFp8, int kUnits>
class DispatchBlock {
 public:
  __device__ DispatchBlock(const DispatchKernelArgs& args, std::byte* shared, int worker)
      : a_(args.dispatch),
        place_(args.machine, args.dispatch.op, worker),
        shared_(shared),
        shape_(layout::MessageShape::of(a_.format, a_.op.map.shape.hidden)),
        map_(DispatchBlockMap::of(a_.rules.experts.num_experts, a_.rules.experts.num_ranks,
                                  a_.topk.k, shape_.payload_bytes(), kRingRows)),
        ring_(shared + map_.ring, map_.row_bytes,
              reinterpret_cast<std::uint64_t*>(shared + map_.barriers)),
        tokens_(share_of(a_.topk.num_tokens, worker, args.machine.num_workers)) {}

  __device__ void send() {
    keeps_own_ = false;
    send_messages();
    __syncthreads();
    if (!place_.sends() || !place_.is_last(layout::Phase::kDispatchSend)) return;
    store_epochs();
  }

  __device__ void receive() {
    keeps_own_ = false;
    set_epoch(protocol::record_of(a_.op).dispatch_epoch);
    if (place_.thread == 0) *at<std::uint32_t>(map_.failed) = 0;
    __syncthreads();
    receive_messages();
    end_receive(false);
  }

  // All blocks of all ranks are resident.
  __device__ void both() {
    keeps_own_ = ceil_div(a_.topk.num_tokens, place_.machine.num_workers) <= kRingRows;
    send_messages();
    receive_messages();
    end_receive(true);
  }

 private:
  using Placement = layout::Placement;
  static constexpr int kAhead = 4 / kUnits;  // tokens whose channels are on their way
  static constexpr int kPasses = 2;  // over the top-k table: 128 tokens with eight choices take two

  // A lane's choice of a token.
  struct Choice {
    int expert = -1;
    float weight = 0.0F;
  };
  // Where the message goes that a choice leads.
  struct Plan {
    std::byte* message = nullptr;
    Word* flag = nullptr;
  };

  template <class T>
  __device__ T* at(std::int64_t offset) const {
    return reinterpret_cast<T*>(shared_ + offset);
  }
  __device__ std::byte* peer(int rank) const { return at<std::byte*>(map_.peers)[rank]; }
  __device__ int num_local() const { return a_.rules.experts.num_local(); }
  __device__ int num_ranks() const { return a_.rules.experts.num_ranks; }
  __device__ std::int64_t* waited(int peer) const {
    return a_.waited_ns == nullptr ? nullptr : a_.waited_ns + peer;
  }
  __device__ bool failed() const { return *at<volatile std::uint32_t>(map_.failed) != 0; }
  __device__ void note(bool missed) {
    if (missed) ptx::red_or_relaxed_cta_shared_u32(at<std::uint32_t>(map_.failed), 1);
  }
  __device__ void set_epoch(std::uint32_t epoch) {
    epoch_ = epoch;
    depth_ = protocol::depth_of(a_.op, epoch);
  }

  __device__ void load_token(Channels<kUnits>& x, std::int64_t token) const {
    const int hidden = a_.op.map.shape.hidden;
    load_channels(x, a_.x + token * hidden, hidden);
  }
  __device__ Choice load_choice(std::int64_t token) const {
    Choice choice;
    if (place_.lane >= a_.topk.k || token >= tokens_.end) return choice;
    const std::int64_t value = a_.topk.value(token, place_.lane);
    if (a_.topk.may_be(value)) {
      choice.expert = static_cast<int>(value);
    } else {
      RankFlags::report_bad_choice(place_.machine, token, place_.lane, value);
    }
    if (a_.weights != nullptr) choice.weight = a_.weights[token * a_.topk.k + place_.lane];
    return choice;
  }

  // All of the send but its end. What takes longest comes first: rows, routes, epoch and flags are
  // on their way together.
  __device__ void send_messages() {
    Channels<kUnits> x[kAhead];
    int routes[kPasses];
    Choice choice;
    Word depths = 0;
    if (place_.has_rows()) {
#pragma unroll
      for (int i = 0; i < kAhead; ++i) {
        if (tokens_.begin + i < tokens_.end) load_token(x[i], tokens_.begin + i);
      }
      load_routes(routes, 0);
    } else if (place_.plans()) {
      choice = load_choice(tokens_.begin);
      depths = place_.peek_depths();
    } else {
      if (place_.lane == 0) ring_.init(kRowWarps + 1);
      for (int rank = place_.lane; rank < num_ranks(); rank += kWarpLanes) {
        at<std::byte*>(map_.peers)[rank] = place_.machine.peers[rank];
      }
    }
    set_epoch(protocol::state_of(a_.op).epoch + 1);
    bool missed = false;
    if (place_.has_rows()) {
      count_routes(routes);
    } else if (place_.plans()) {
      missed = place_.await_depth(depths, epoch_, {machine::Operation::kDispatchSend},
                                  a_.waited_ns);
    }
    if (__syncthreads_or(static_cast<int>(missed)) != 0) {
      if (place_.thread == 0) *at<std::uint32_t>(map_.failed) = 1;
      __syncthreads();
      return;
    }
    const auto count = static_cast<int>(tokens_.size());
    if (place_.has_rows()) {
      post_notices();
      encode_tokens(x, count);
    } else if (place_.plans()) {
      plan_tokens(choice, count);
    } else {
      send_rows(count);
    }
  }

  // The routes that this block counts: all of them where it posts notices, else those of the tokens
  // before its own. Several tokens a warp at a time, a choice a lane.
  __device__ bool counts_all() const { return place_.worker < num_ranks(); }
  __device__ int num_counted() const {
    return counts_all() ? a_.topk.num_tokens : static_cast<int>(tokens_.begin);
  }
  __device__ int counted_token(int pass) const {
    const int per_warp = kWarpLanes / a_.topk.k;
    const int sub = place_.lane / a_.topk.k;
    return sub < per_warp ? (pass * kRowWarps + place_.warp) * per_warp + sub : num_counted();
  }
  __device__ void load_routes(int (&routes)[kPasses], int pass) const {
#pragma unroll
    for (int i = 0; i < kPasses; ++i) {
      const int token = counted_token(pass + i);
      routes[i] = token < num_counted()
                      ? a_.topk.expert(token, place_.lane % a_.topk.k)
                      : -1;
    }
  }
  __device__ void count_routes(int (&routes)[kPasses]) {
    const auto first = static_cast<int>(tokens_.begin);
    const auto counters = static_cast<int>((map_.before_messages - map_.total_rows) / 4);
    for (int i = place_.thread; i < counters + num_ranks(); i += kRowThreads) {
      at<std::uint32_t>(map_.total_rows)[i] = 0;
    }
    if (place_.thread == 0) *at<std::uint32_t>(map_.failed) = 0;
    ptx::barrier_cta_sync(kRowBarrier, kRowThreads);
    const int per_pass = kRowWarps * (kWarpLanes / a_.topk.k);
    const int passes = ceil_div(num_counted(), per_pass);
    for (int pass = 0; pass < passes; pass += kPasses) {
      if (pass > 0) load_routes(routes, pass);
#pragma unroll
      for (int i = 0; i < kPasses; ++i) {
        if (pass + i < passes) count_choice(routes[i], counted_token(pass + i) < first);
      }
    }
  }

  // Rows once for each expert that a token names, messages once for each rank.
  __device__ void count_choice(int expert, bool earlier) {
    const bool exists = expert >= 0;
    const int rank = exists ? expert / num_local() : -1;
    const unsigned below = (1u << place_.lane) - 1;
    const unsigned token = __match_any_sync(kAllLanes, place_.lane / a_.topk.k);
    const unsigned same = __match_any_sync(kAllLanes, expert) & token;
    const unsigned together = __match_any_sync(kAllLanes, rank) & token;
    if (!exists) return;
    if ((same & below) == 0) {
      if (counts_all()) count(map_.total_rows, expert);
      if (earlier) count(map_.before_rows, expert);
    }
    if ((together & below) == 0) {
      if (counts_all()) count(map_.total_messages, rank);
      if (earlier) count(map_.before_messages, rank);
    }
  }
  __device__ void count(std::int64_t counters, int i) {
    ptx::red_add_relaxed_cta_shared_u32(at<std::uint32_t>(counters) + i, 1);
  }

  // A word is its own flag. The signal says only that this rank has come this far: each message has
  // a flag of its own.
  __device__ void post_notices() {
    const int me = place_.rank();
    for (int step = place_.worker; step < num_ranks(); step += place_.machine.num_workers) {
      const int to = (me + step) % num_ranks();
      if (place_.active()[to] == 0) continue;
      std::byte* block = peer(to);
      const auto post = [&](std::int64_t offset, std::uint32_t value) {
        ptx::st_relaxed_sys_u64(reinterpret_cast<Word*>(block + offset),
                                layout::make_word(epoch_, value));
      };
      for (int i = place_.thread; i < num_local() + 2; i += kRowThreads) {
        if (i < num_local()) {
          post(a_.op.map.count_word(depth_, me, i),
               at<std::uint32_t>(map_.total_rows)[to * num_local() + i]);
        } else if (i == num_local()) {
          post(a_.op.map.messages_word(depth_, me, 0), at<std::uint32_t>(map_.total_messages)[to]);
        } else {
          post(a_.op.map.signal_flag(layout::Signal::kDispatch, depth_, me, 0), 0);
        }
      }
    }
  }

  __device__ void encode_tokens(Channels<kUnits> (&x)[kAhead], int count) {
    for (int base = 0; base < count; base += kAhead) {
#pragma unroll
      for (int i = 0; i < kAhead; ++i) {
        if (base + i >= count) break;
        ring_.await_empty();
        encode(x[i], ring_.row());
        if (base + i + kAhead < count) load_token(x[i], tokens_.begin + base + i + kAhead);
        ptx::fence_proxy_async_shared_cta();
        ring_.fill();
      }
    }
  }

  __device__ void encode(const Channels<kUnits>& x, std::byte* row) const {
    const int hidden = a_.op.map.shape.hidden;
    if constexpr (kFp8) {
      encode_channels(a_.format, x, hidden, row, row + shape_.scales_at);
      // What pads the scales: zeros in the last packed word, and up to the header.
      const int used = static_cast<int>(shape_.scales_at) +
                       (a_.format == DispatchFormat::kFp8Ue8m0 ? 1 : 4) * (hidden / kScaleGroup);
      if (used + place_.thread < shape_.header_at) row[used + place_.thread] = std::byte{0};
    } else {
      store_channels(x, row, hidden);
    }
  }

  __device__ void plan_tokens(Choice next, int count) {
    for (int i = 0; i < count; ++i) {
      const Choice choice = next;
      next = load_choice(tokens_.begin + i + 1);
      ring_.await_empty();
      const Plan plan = plan_token(choice, tokens_.begin + i, i);
      if (place_.lane < a_.topk.k) {
        at<Plan>(map_.plans)[ring_.turn() * a_.topk.k + place_.lane] = plan;
      }
      ring_.fill();
    }
  }

  // Places of one token's rows, and the headers and placements of its messages, which go ahead of
  // the row.
  __device__ Plan plan_token(const Choice& choice, std::int64_t token, int i) {
    Plan plan;
    const int expert = choice.expert;
    const bool exists = expert >= 0;
    const int rank = exists ? expert / num_local() : -1;
    const unsigned same = __match_any_sync(kAllLanes, expert);
    const unsigned together = __match_any_sync(kAllLanes, rank);
    const unsigned below = (1u << place_.lane) - 1;
    auto* rows = at<std::uint32_t>(map_.before_rows);
    auto* messages = at<std::uint32_t>(map_.before_messages);
    const std::uint32_t row = exists ? rows[expert] : 0;
    const std::uint32_t slot = exists ? messages[rank] : 0;
    __syncwarp();
    const bool own = keeps_own_ && rank == place_.rank();
    if (keeps_own_ && __ballot_sync(kAllLanes, own) == 0 && place_.lane == 0) {
      at<std::uint32_t>(map_.own_counts)[i] = 0;
    }
    if (!exists) return plan;
    const bool repeats = (same & below) != 0;
    const bool leads = (together & below) == 0;
    if (!repeats) rows[expert] = row + 1;
    if (leads) messages[rank] = slot + 1;
    const int position = __popc(together & below);
    const uint4 placement{Placement::pack(expert - rank * num_local(), place_.lane, repeats), row,
                          __float_as_uint(choice.weight), 0};
    if (own) {
      at<uint4>(map_.own)[i * a_.topk.k + position] = placement;
      if (leads) at<std::uint32_t>(map_.own_counts)[i] = __popc(together);
      return plan;
    }
    if (place_.active()[rank] == 0) return plan;
    std::byte* message = peer(rank) + a_.op.map.message(depth_, place_.rank(), slot);
    reinterpret_cast<uint4*>(message + shape_.placements_at)[position] = placement;
    if (leads) {
      *reinterpret_cast<uint4*>(message + shape_.header_at) = {
          static_cast<std::uint32_t>(token), static_cast<std::uint32_t>(__popc(together)), 0, 0};
      plan.message = message;
      plan.flag = reinterpret_cast<Word*>(
          peer(rank) + a_.op.map.arrived_flag(depth_, place_.rank(), slot));
    }
    return plan;
  }

  __device__ void send_rows(int count) {
    SentRows sent(epoch_);
    const auto bytes = static_cast<std::uint32_t>(shape_.payload_bytes());
    for (int i = 0; i < count; ++i) {
      ring_.await_full();
      Plan plan;
      if (place_.lane < a_.topk.k) {
        plan = at<const Plan>(map_.plans)[ring_.turn() * a_.topk.k + place_.lane];
      }
      if (plan.message != nullptr) {
        ptx::bulk_copy_shared_to_global(plan.message, ring_.row(), bytes);
      }
      sent.add(plan.flag);
      ring_.take();
    }
    sent.finish();
  }

  // All of the receive but its end: the row warps'. Each arrives at kReadBarrier when it has read
  // all that it reads of the peers' bytes.
  __device__ void receive_messages() {
    if (!place_.has_rows()) return;
    if (!failed()) read_notices();
    ptx::barrier_cta_sync(kRowBarrier, kRowThreads);
    if (failed()) {
      ptx::barrier_cta_arrive(kReadBarrier, kReadThreads);
      return;
    }
    count_first_rows();
    ptx::barrier_cta_sync(kRowBarrier, kRowThreads);
    if (keeps_own_) place_own();
    place_messages();
  }

  __device__ void read_notices() {
    const int words = num_local() + 1;  // rows of each expert, messages
    for (int i = place_.thread; i < num_ranks() * words; i += kRowThreads) {
      const int source = i / words;
      const int word = i - source * words;
      std::uint32_t value = 0;
      if (place_.active()[source] != 0) {
        const std::int64_t offset = word < num_local()
                                        ? a_.op.map.count_word(depth_, source, word)
                                        : a_.op.map.messages_word(depth_, source, 0);
        const auto result = place_.flags.wait(
            place_.word(offset), epoch_, {machine::Operation::kDispatchReceive, 0, source},
            waited(source));
        note(!result.reached);
        value = layout::value_of(result.seen);
      }
      if (word < num_local()) {
        at<std::uint32_t>(map_.first_rows)[source * num_local() + word] = value;
      } else {
        at<std::uint32_t>(map_.messages)[source] = value;
      }
    }
  }

  __device__ void count_first_rows() {
    for (int expert = place_.thread; expert < num_local(); expert += kRowThreads) {
      std::uint32_t rows = 0;
      for (int source = 0; source < num_ranks(); ++source) {
        std::uint32_t& first = at<std::uint32_t>(map_.first_rows)[source * num_local() + expert];
        const std::uint32_t count = first;
        first = rows;
        rows += count;
      }
      if (place_.worker > 0) continue;
      *reinterpret_cast<std::uint32_t*>(
          a_.op.local + a_.op.local_map.expert_count(a_.op.handle_slot, expert)) = rows;
      a_.out_counts[expert] = static_cast<std::int32_t>(rows);
      if (a_.received_total != nullptr) a_.received_total[expert] += rows;
    }
  }

  // A message as a warp places a part of it: `part` of `parts`.
  struct Incoming {
    const std::byte* row = nullptr;
    std::uint32_t token = 0;
    int source = 0;
    int count = 0;        // of placements
    Placement placement;  // this lane's, where there is one
    int part = 0, parts = 1;
  };
  __device__ static Placement placement_of(const uint4& words) {
    return {words.x, words.y, __uint_as_float(words.z), 0};
  }

  __device__ void place_own() {
    const auto count = static_cast<int>(tokens_.size());
    for (int i = 0; i < count; ++i) {
      ring_.await_first(i);
      Incoming in;
      in.row = ring_.first(i);
      in.token = static_cast<std::uint32_t>(tokens_.begin + i);
      in.source = place_.rank();
      in.count = static_cast<int>(at<std::uint32_t>(map_.own_counts)[i]);
      if (in.count == 0) continue;
      if (place_.lane < in.count) {
        in.placement = placement_of(at<const uint4>(map_.own)[i * a_.topk.k + place_.lane]);
      }
      in.part = place_.warp;
      in.parts = kRowWarps;
      place(in, false);
    }
  }

  __device__ void place_messages() {
    int total = 0;
    for (int source = 0; source < num_ranks(); ++source) total += messages_of(source);
    // The more messages, the fewer warps share one.
    const int warps = place_.machine.num_workers * kRowWarps;
    const int parts = max_of(1, min_of(kRowWarps, warps / max_of(total, 1)));
    const int items = total * parts;
    // Neighboring parts go to different blocks: few messages use all of them.
    int item = place_.warp * place_.machine.num_workers + place_.worker;
    bool arrives = false;
    for (; item < items; item += warps) {
      Incoming in;
      int slot = item / parts;
      in.part = item - slot * parts;
      in.parts = parts;
      for (; slot >= messages_of(in.source); ++in.source) slot -= messages_of(in.source);
      bool reached = true;
      if (place_.lane == 0) {
        reached = place_.flags
                      .wait(place_.word(a_.op.map.arrived_flag(depth_, in.source, slot)), epoch_,
                            {machine::Operation::kDispatchReceive, 0, in.source}, waited(in.source))
                      .reached;
      }
      if (__shfl_sync(kAllLanes, static_cast<int>(reached), 0) == 0) {
        note(true);
        break;
      }
      __syncwarp();
      in.row = place_.machine.local + a_.op.map.message(depth_, in.source, slot);
      const auto header = *reinterpret_cast<const uint4*>(in.row + shape_.header_at);
      const uint4 placed = place_.lane < a_.topk.k
                               ? reinterpret_cast<const uint4*>(in.row + shape_.placements_at)
                                     [place_.lane]
                               : uint4{};
      in.token = header.x;
      in.count = static_cast<int>(header.y);
      in.placement = placement_of(placed);
      arrives = item + warps >= items;
      place(in, arrives);
    }
    if (!arrives) ptx::barrier_cta_arrive(kReadBarrier, kReadThreads);
  }
  // That come by way of a slot.
  __device__ int messages_of(int source) const {
    if (keeps_own_ && source == place_.rank()) return 0;
    return static_cast<int>(at<std::uint32_t>(map_.messages)[source]);
  }

  // A part of a message into its rows. `last`: the warp reads nothing after it.
  __device__ void place(const Incoming& in, bool last) {
    constexpr int kVectors = 4;
    std::int64_t data_at = 0, scales_at = 0;  // of this lane's placement, in the outputs
    bool writes = false;
    const auto words = static_cast<int>(shape_.scale_bytes / layout::kScaleWordBytes);
    const layout::ScaleShape scale_shape{a_.scale_layout, words, a_.op.map.shape.row_capacity()};
    if (place_.lane < in.count) {
      const std::uint32_t row = keep_tables(in);
      const int expert = in.placement.local_expert();
      data_at = (expert * a_.op.map.shape.row_capacity() + row) * shape_.data_bytes;
      scales_at = scale_shape.first(expert, row);
      writes = !in.placement.repeat();
    }
    const unsigned writers = __ballot_sync(kAllLanes, writes);
    const auto vectors = static_cast<int>(shape_.data_bytes / 16);
    const int step = in.parts * kWarpLanes;
    const int first = in.part * kWarpLanes;
    if (first >= vectors && last) ptx::barrier_cta_arrive(kReadBarrier, kReadThreads);
    for (int base = first; base < vectors; base += kVectors * step) {
      uint4 data[kVectors] = {};
      std::uint32_t scales[kVectors] = {};
      std::uint32_t mixed = 0;
#pragma unroll
      for (int i = 0; i < kVectors; ++i) {
        const int at = base + i * step + place_.lane;
        if (at < vectors) data[i] = reinterpret_cast<const uint4*>(in.row)[at];
        if (at < words) {
          scales[i] = reinterpret_cast<const std::uint32_t*>(in.row + shape_.scales_at)[at];
        }
        mixed ^= data[i].x ^ scales[i];
      }
      if (last && base + kVectors * step >= vectors) {
        await_loads(mixed);
        ptx::barrier_cta_arrive(kReadBarrier, kReadThreads);
      }
      for (unsigned left = writers; left != 0; left &= left - 1) {
        const int writer = __ffs(left) - 1;
        auto* out = reinterpret_cast<uint4*>(a_.out_x + __shfl_sync(kAllLanes, data_at, writer));
        std::byte* out_scales = a_.out_scales + __shfl_sync(kAllLanes, scales_at, writer);
#pragma unroll
        for (int i = 0; i < kVectors; ++i) {
          const int at = base + i * step + place_.lane;
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
        at<std::uint32_t>(map_.first_rows)[in.source * num_local() + expert] + in.placement.row;
    const std::int64_t row_idx = expert * a_.op.map.shape.row_capacity() + row;
    if (in.part != 0) return row;
    const std::uint32_t slot = in.token * static_cast<std::uint32_t>(a_.topk.k) +
                               static_cast<std::uint32_t>(in.placement.choice());
    const layout::LocalMap& tables = a_.op.local_map;
    *reinterpret_cast<uint4*>(a_.op.local + tables.term(a_.op.handle_slot, in.source, slot)) = {
        epoch_, static_cast<std::uint32_t>(row_idx), __float_as_uint(in.placement.weight), 0};
    if (in.placement.repeat()) return row;
    *reinterpret_cast<layout::RowOrigin*>(
        a_.op.local + tables.origin(a_.op.handle_slot, expert, row)) = {
        static_cast<std::uint32_t>(in.source), slot};
    return row;
  }

  __device__ void store_epochs() const {
    if (place_.lane != 0) return;
    protocol::record_of(a_.op).dispatch_epoch = epoch_;
    protocol::state_of(a_.op).epoch = epoch_;
  }

  // The sending warp's, when all row warps of the block have read what they read.
  __device__ void end_receive(bool ends_send) const {
    if (!place_.sends()) return;
    ptx::barrier_cta_sync(kReadBarrier, kReadThreads);
    if (!place_.is_last(layout::Phase::kDispatchReceive)) return;
    if (!failed()) place_.raise_received(epoch_);
    if (ends_send) store_epochs();
  }

  const protocol::DispatchArgs& a_;
  BlockPlace place_;
  std::byte* shared_;
  layout::MessageShape shape_;
  DispatchBlockMap map_;
  RowRing ring_;
  Range tokens_;
  std::uint32_t epoch_ = 0;
  int depth_ = 0;
  bool keeps_own_ = false;  // rows to this rank itself stay in the ring until they are placed
};

}  // namespace braid::cuda
