// Dispatch's send by the blocks of a GPU: one round, one copy a rank.
//
// A block has a few tokens. The row warps hold a token's channels in registers, encode it into
// shared memory, and go on to the next; the warp ahead finds its places meanwhile, and the sending
// warp takes it away.
#pragma once

#include "backend/cuda/block_routes.cuh"

namespace braid::cuda {

template <bool kFp8, int kUnits>
class DispatchSender {
 public:
  __device__ explicit DispatchSender(DispatchContext& context) : c_(context) {}

  // All of the send but its end. What takes longest comes first: rows, routes, epoch and flags are
  // on their way together.
  __device__ void run() {
    const std::uint32_t newest = protocol::state_of(c_.a.op).epoch;
    if (c_.place.has_rows()) {
      RouteCounter routes(c_);
      Channels<kUnits> x[kAhead];
#pragma unroll
      for (int i = 0; i < kAhead; ++i) {
        if (i < c_.num_tokens) load_token(x[i], i);
      }
      c_.load_ranks();
      zero_counts();
      ptx::barrier_cta_sync(kRowBarrier, kRowThreads);
      routes.run();
      if (!begin(newest, false)) return;
      post_notices();
      encode_tokens(x);
    } else if (c_.place.is_ahead()) {
      const Choice first = load_choice(0);
      const Word depths = c_.place.peek_depths();
      c_.load_ranks();
      c_.settle_ranks();
      const bool missed = c_.place.await_depth(depths, newest + 1, c_.active,
                                               {machine::Operation::kDispatchSend}, c_.a.waited_ns);
      if (!begin(newest, missed)) return;
      plan_tokens(first);
    } else {
      const std::uint32_t unraised = protocol::state_of(c_.a.op).unraised;
      c_.load_ranks();
      c_.ring.init(kRowWarps + 1, 1);
      if (!begin(newest, false)) return;
      c_.place.raise_unraised(unraised, c_.active);
      send_rows();
    }
  }

 private:
  static constexpr int kAhead = 4 / kUnits;  // tokens whose channels are on their way

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

  // Counts are complete, and the depth is free at every peer: then the block may write.
  __device__ bool begin(std::uint32_t newest, bool missed) const {
    c_.set_epoch(newest + 1);
    c_.settle_ranks();
    if (__syncthreads_or(static_cast<int>(missed)) == 0) return true;
    c_.note(true);
    return false;
  }

  __device__ void load_token(Channels<kUnits>& x, int i) const {
    const int hidden = c_.a.op.map.shape.hidden;
    load_channels(x, c_.a.x + static_cast<std::int64_t>(c_.first_token + i) * hidden, hidden);
  }
  __device__ Choice load_choice(int i) const {
    Choice choice;
    const std::int64_t token = c_.first_token + i;
    if (c_.place.lane >= c_.k() || i >= c_.num_tokens) return choice;
    const std::int64_t value = c_.a.topk.value(token, c_.place.lane);
    if (c_.a.weights != nullptr) choice.weight = c_.a.weights[token * c_.k() + c_.place.lane];
    if (c_.a.topk.may_be(value)) {
      choice.expert = static_cast<int>(value);
    } else {
      RankFlags::report_bad_choice(c_.place.machine, token, c_.place.lane, value);
    }
    return choice;
  }

  __device__ void zero_counts() const {
    const int counters = c_.a.topk.num_experts + c_.num_ranks();
#pragma unroll 1
    for (int i = c_.place.thread; i < counters; i += kRowThreads) {
      c_.at<std::uint32_t>(c_.map.rows)[i] = 0;
    }
    if (c_.place.thread == 0) *c_.at<std::uint32_t>(c_.map.failed) = 0;
  }

  // A word is its own flag. The signal says only that this rank has come this far: each message has
  // a flag of its own.
  __device__ void post_notices() const {
    const int me = c_.place.rank();
    const layout::BufferMap& map = c_.a.op.map;
#pragma unroll 1
    for (int step = c_.place.worker; step < c_.num_ranks(); step += c_.place.machine.num_workers) {
      const int to = me + step < c_.num_ranks() ? me + step : me + step - c_.num_ranks();
      std::byte* block = c_.peer(to);
      if (!c_.is_active(to)) continue;
#pragma unroll 1
      for (int i = c_.place.thread; i < c_.num_local() + 2; i += kRowThreads) {
        std::int64_t offset = 0;
        std::uint32_t value = 0;
        if (i < c_.num_local()) {
          offset = map.count_word(c_.depth, me, i);
          value = c_.at<RouteCount>(c_.map.rows)[to * c_.num_local() + i].all();
        } else if (i == c_.num_local()) {
          offset = map.messages_word(c_.depth, me, 0);
          value = c_.at<RouteCount>(c_.map.row_messages)[to].all();
        } else {
          offset = map.signal_flag(layout::Signal::kDispatch, c_.depth, me, 0);
        }
        ptx::st_relaxed_sys_u64(reinterpret_cast<Word*>(block + offset),
                                layout::make_word(c_.epoch, value));
      }
    }
  }

  __device__ void encode_tokens(Channels<kUnits> (&x)[kAhead]) {
    const int count = c_.num_tokens;
    for (int base = 0; base < count; base += kAhead) {
#pragma unroll
      for (int i = 0; i < kAhead; ++i) {
        if (base + i >= count) break;
        c_.ring.await_empty();
        encode(x[i], c_.ring.row());
        if (base + i + kAhead < count) load_token(x[i], base + i + kAhead);
        c_.ring.fill();
      }
    }
  }

  __device__ void encode(const Channels<kUnits>& x, std::byte* row) const {
    const int hidden = c_.a.op.map.shape.hidden;
    if constexpr (kFp8) {
      encode_channels(c_.a.format, x, hidden, row, row + c_.shape.scales_at);
      // What pads the scales: zeros in the last packed word, and up to the header.
      const int used = static_cast<int>(c_.shape.scales_at) +
                       (c_.a.format == DispatchFormat::kFp8Ue8m0 ? 1 : 4) * (hidden / kScaleGroup);
      if (used + c_.place.thread < c_.shape.header_at) row[used + c_.place.thread] = std::byte{0};
    } else {
      store_channels(x, row, hidden);
    }
  }

  __device__ void plan_tokens(Choice next) {
    const int count = c_.num_tokens;
    for (int i = 0; i < count; ++i) {
      const Choice choice = next;
      next = load_choice(i + 1);
      c_.ring.await_empty();
      const Plan plan = plan_token(choice, i);
      if (c_.place.lane < c_.k()) {
        c_.at<Plan>(c_.map.plans)[c_.ring.turn() * c_.k() + c_.place.lane] = plan;
      }
      c_.ring.fill();
    }
  }

  // Places of one token's rows, and the headers and placements of its messages, which go ahead of
  // the row.
  __device__ Plan plan_token(const Choice& choice, int i) const {
    Plan plan;
    const int expert = choice.expert;
    const bool exists = expert >= 0;
    const int rank = exists ? c_.rank_of(expert) : -1;
    const unsigned same = lanes_with(expert, c_.k());
    const unsigned together = lanes_with(rank, c_.k());
    const unsigned below = lanes_below(c_.place.lane);
    auto* rows = c_.at<RouteCount>(c_.map.rows);
    auto* messages = c_.at<RouteCount>(c_.map.row_messages);
    const std::uint32_t row = exists ? rows[expert].before() : 0;
    const std::uint32_t slot = exists ? messages[rank].before() : 0;
    __syncwarp();
    const bool own = c_.keeps_own && rank == c_.place.rank();
    if (c_.keeps_own && __ballot_sync(kAllLanes, own) == 0 && c_.place.lane == 0) {
      c_.at<std::uint32_t>(c_.map.own_counts)[i] = 0;
    }
    std::byte* block = c_.peer(rank);
    if (!exists) return plan;
    const bool repeats = (same & below) != 0;
    const bool leads = (together & below) == 0;
    const int named = __popc(together);
    if (!repeats) rows[expert].word += RouteCount::of(0, 1);
    if (leads) messages[rank].word += RouteCount::of(0, 1);
    const int position = __popc(together & below);
    const uint4 placement{
        layout::Placement::pack(expert - rank * c_.num_local(), c_.place.lane, repeats), row,
        __float_as_uint(choice.weight), 0};
    if (own) {
      c_.at<uint4>(c_.map.own)[i * c_.k() + position] = placement;
      if (leads) c_.at<std::uint32_t>(c_.map.own_counts)[i] = named;
      return plan;
    }
    if (!c_.is_active(rank)) return plan;
    const layout::BufferMap& map = c_.a.op.map;
    std::byte* message = block + map.message(c_.depth, c_.place.rank(), slot);
    reinterpret_cast<uint4*>(message + c_.shape.placements_at)[position] = placement;
    if (leads) {
      *reinterpret_cast<uint4*>(message + c_.shape.header_at) = {
          static_cast<std::uint32_t>(c_.first_token + i), static_cast<std::uint32_t>(named), 0, 0};
      plan.message = message;
      plan.flag =
          reinterpret_cast<Word*>(block + map.arrived_flag(c_.depth, c_.place.rank(), slot));
    }
    return plan;
  }

  __device__ void send_rows() {
    SentRows sent(c_.epoch);
    const auto bytes = static_cast<std::uint32_t>(c_.shape.payload_bytes());
    const int count = c_.num_tokens;
    for (int i = 0; i < count; ++i) {
      c_.ring.await_full();
      Plan plan;
      if (c_.place.lane < c_.k()) {
        plan = c_.at<const Plan>(c_.map.plans)[c_.ring.turn() * c_.k() + c_.place.lane];
      }
      if (plan.message != nullptr) {
        ptx::bulk_copy_shared_to_global(plan.message, c_.ring.row(), bytes);
      }
      sent.add(plan.flag);
      c_.ring.take();
    }
    sent.finish();
  }

  DispatchContext& c_;
};

}  // namespace braid::cuda
