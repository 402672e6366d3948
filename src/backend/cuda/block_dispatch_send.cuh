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
      const Choice first = load_choice(batch_token());
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
      c_.settle_ranks();
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
    const bool begins = __syncthreads_or(static_cast<int>(missed)) == 0;
    if (c_.place.sends()) c_.leave_state_early();
    if (begins) return true;
    c_.note(true);
    return false;
  }

  __device__ void load_token(Channels<kUnits>& x, int i) const {
    const int hidden = c_.a.op.map.shape.hidden;
    load_channels(x, c_.a.x + static_cast<std::int64_t>(c_.first_token + i) * hidden, hidden);
  }
  __device__ Choice load_choice(int i) const {
    Choice choice;
    if (choice_of() >= c_.k() || i >= c_.num_tokens) return choice;
    const std::int64_t token = c_.first_token + i;
    const std::int64_t value = c_.a.topk.value(token, choice_of());
    if (c_.a.weights != nullptr) choice.weight = c_.a.weights[token * c_.k() + choice_of()];
    if (c_.a.topk.may_be(value)) {
      choice.expert = static_cast<int>(value);
    } else {
      RankFlags::report_bad_choice(c_.place.machine, token, choice_of(), value);
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
    if (c_.place.worker >= c_.num_ranks()) return;
    c_.settle_ranks();
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
          value = c_.at<RouteCount>(c_.map.rows)[to * c_.num_local() + i].all;
        } else if (i == c_.num_local()) {
          offset = map.messages_word(c_.depth, me, 0);
          value = c_.at<RouteCount>(c_.map.row_messages)[to].all;
        } else {
          offset = map.signal_flag(layout::Signal::kDispatch, c_.depth, me, 0);
        }
        ptx::st_relaxed_sys_u64(reinterpret_cast<Word*>(block + offset),
                                layout::make_word(c_.epoch, value));
      }
    }
  }

  // Two tokens at a time, where there are two: one alone leaves its warps waiting for themselves.
  __device__ void encode_tokens(Channels<kUnits> (&x)[kAhead]) {
    const int count = c_.num_tokens;
    for (int base = 0; base < count; base += kAhead) {
#pragma unroll
      for (int i = 0; i < kAhead; i += 2) {
        const int token = base + i;
        if (token >= count) break;
        c_.ring.await_empty();
        if (token + 1 < count) {
          RowRing second = c_.ring;
          second.next();
          second.await_empty();
          encode(x[i], c_.ring.row());
          encode(x[i + 1], second.row());
          if (token + kAhead < count) load_token(x[i], token + kAhead);
          if (token + 1 + kAhead < count) load_token(x[i + 1], token + 1 + kAhead);
          c_.ring.fill();
          c_.ring.fill();
        } else {
          encode(x[i], c_.ring.row());
          c_.ring.fill();
        }
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

  // The planning warp has several tokens at a time, a choice a lane: a token's lanes are a power of
  // two.
  static constexpr int kMostPlanned = 4;
  static_assert(kMostPlanned + RowRing::kUnread <= kRingRows, "or it waits for itself");
  __device__ int lanes_log2() const { return c_.args.route_lanes_log2 + 2; }
  __device__ int planned() const { return min_of(kMostPlanned, kWarpLanes >> lanes_log2()); }
  __device__ int batch_token() const { return c_.place.lane >> lanes_log2(); }
  __device__ int first_lane() const { return batch_token() << lanes_log2(); }
  __device__ int choice_of() const { return c_.place.lane - first_lane(); }

  __device__ void plan_tokens(Choice next) {
    const int count = c_.num_tokens;
#pragma unroll 1
    for (int base = 0; base < count; base += planned()) {
      const Choice choice = next;
      next = load_choice(base + planned() + batch_token());
      const int tokens = min_of(planned(), count - base);
      plan_batch(batch_token() < tokens ? choice : Choice{}, base, tokens);
      for (int i = 0; i < tokens; ++i) c_.ring.arrive();
    }
  }

  // What a lane knows of its choice.
  struct Route {
    int expert, rank;
    unsigned same, together;  // choices of its token that name the expert, or the rank
    std::uint32_t row = 0, slot = 0;
  };

  __device__ void plan_batch(const Choice& choice, int base, int tokens) {
    Route route{choice.expert, choice.expert >= 0 ? c_.rank_of(choice.expert) : -1, 0, 0};
    route.same = lanes_with(route.expert, first_lane(), c_.k());
    route.together = lanes_with(route.rank, first_lane(), c_.k());
#pragma unroll 1
    for (int i = 0; i < tokens; ++i) take_places(route, i == batch_token());
    std::byte* block = c_.peer(route.rank);
    const bool own = c_.keeps_own && route.rank == c_.place.rank() && c_.is_active(c_.place.rank());
    const unsigned owns = __ballot_sync(kAllLanes, own) >> first_lane();
    if (batch_token() >= tokens || choice_of() >= c_.k()) return;
    const int i = base + batch_token();
    if (c_.keeps_own && choice_of() == 0) {
      const unsigned others = ~std::uint32_t{0} << (1 << lanes_log2()) % kWarpLanes;
      c_.at<std::uint32_t>(c_.map.own_counts)[i] =
          __popc(lanes_log2() == 5 ? owns : owns & ~others);
    }
    RowRing ring = c_.ring;
    ring.skip(batch_token());
    ring.await_empty();
    Plan plan;
    if (own) {
      const int at = i * c_.k() + __popc(route.together & lanes_below(choice_of()));
      c_.at<uint4>(c_.map.own)[at] = placement_of(route, choice);
    } else if (route.expert >= 0 && c_.is_active(route.rank)) {
      plan = send_placement(route, choice, i, block);
    }
    c_.at<Plan>(c_.map.plans)[ring.turn() * c_.k() + choice_of()] = plan;
  }

  // The counts before a choice's token are its places; then they move past it. A token's turn at a
  // time.
  __device__ void take_places(Route& route, bool turn) const {
    auto* rows = c_.at<RouteCount>(c_.map.rows);
    auto* messages = c_.at<RouteCount>(c_.map.row_messages);
    const bool takes = turn && route.expert >= 0;
    if (takes) {
      route.row = rows[route.expert].before;
      route.slot = messages[route.rank].before;
    }
    __syncwarp();
    const unsigned below = lanes_below(choice_of());
    if (takes && (route.same & below) == 0) ++rows[route.expert].before;
    if (takes && (route.together & below) == 0) ++messages[route.rank].before;
    __syncwarp();
  }

  __device__ uint4 placement_of(const Route& route, const Choice& choice) const {
    const bool repeats = (route.same & lanes_below(choice_of())) != 0;
    const int local = route.expert - route.rank * c_.num_local();
    return {layout::Placement::pack(local, choice_of(), repeats), route.row,
            __float_as_uint(choice.weight), 0};
  }

  // A message's placement, and its header where the choice leads it, go ahead of the row.
  __device__ Plan send_placement(const Route& route, const Choice& choice, int i,
                                 std::byte* block) const {
    const layout::BufferMap& map = c_.a.op.map;
    std::byte* message = block + map.message(c_.depth, c_.place.rank(), route.slot);
    const int position = __popc(route.together & lanes_below(choice_of()));
    reinterpret_cast<uint4*>(message + c_.shape.placements_at)[position] =
        placement_of(route, choice);
    if (position > 0) return {};
    *reinterpret_cast<uint4*>(message + c_.shape.header_at) = {
        static_cast<std::uint32_t>(c_.first_token + i),
        static_cast<std::uint32_t>(__popc(route.together)),
        static_cast<std::uint32_t>(c_.a.topk.num_tokens), 0};
    return {message, reinterpret_cast<Word*>(
                         block + map.arrived_flag(c_.depth, c_.place.rank(), route.slot))};
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
