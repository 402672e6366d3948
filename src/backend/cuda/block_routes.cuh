// Counting a top-k table for a block: rows by expert and messages by rank, of all tokens or of
// those before the block's own.
#pragma once

#include "backend/cuda/block_dispatch_context.cuh"

namespace braid::cuda {

// Four choices of a token a thread, and at most 32 ranks; the row warps' work. What they load first
// is on its way while other things are done.
class RouteCounter {
 public:
  __device__ explicit RouteCounter(const DispatchContext& c)
      : c_(c), lanes_log2_(c.args.route_lanes_log2), counts_all_(c.place.worker < c.num_ranks()) {
    end_ = counts_all_ ? c.a.topk.num_tokens : c.first_token;
    next_ = load(0);
  }

  // Between two of the row warps' barriers.
  __device__ void run() {
    const int per_pass = kRowThreads >> lanes_log2_;
#pragma unroll 1
    for (int pass = 0; pass * per_pass < end_; ++pass) {
      const int4 four = next_;
      if ((pass + 1) * per_pass < end_) next_ = load(pass + 1);
      // A warp whose lanes have no token has nothing to count.
      if (pass * per_pass + c_.place.warp * (kWarpLanes >> lanes_log2_) < end_) count(pass, four);
    }
  }

 private:
  __device__ int token_of(int pass) const {
    return (pass * kRowThreads + c_.place.thread) >> lanes_log2_;
  }
  __device__ int part() const { return c_.place.thread & ((1 << lanes_log2_) - 1); }

  __device__ int4 load(int pass) const {
    const int token = token_of(pass);
    // Of a token's lanes, a power of two, some may have no choice.
    if (token >= end_ || part() * 4 >= c_.k()) return {-1, -1, -1, -1};
    const int first = part() * 4;
    const std::int64_t at = static_cast<std::int64_t>(token) * c_.k() + first;
    if (!c_.args.whole_routes) {
      const auto expert = [&](int choice) {
        return first + choice < c_.k() ? c_.a.topk.expert(token, first + choice) : -1;
      };
      return {expert(0), expert(1), expert(2), expert(3)};
    }
    if (c_.a.topk.is_int64) {
      const auto* pairs =
          reinterpret_cast<const longlong2*>(static_cast<const std::int64_t*>(c_.a.topk.idx) + at);
      const longlong2 low = pairs[0], high = pairs[1];
      return {valid(low.x), valid(low.y), valid(high.x), valid(high.y)};
    }
    const auto four =
        *reinterpret_cast<const int4*>(static_cast<const std::int32_t*>(c_.a.topk.idx) + at);
    return {valid(four.x), valid(four.y), valid(four.z), valid(four.w)};
  }
  // A value that names no expert is none.
  template <class T>
  __device__ int valid(T value) const {
    return value >= 0 && value < c_.a.topk.num_experts ? static_cast<int>(value) : -1;
  }

  __device__ void count(int pass, const int4& four) const {
    const int experts[4] = {four.x, four.y, four.z, four.w};
    const bool earlier = token_of(pass) < c_.first_token;
    unsigned repeats = 0, ranks = 0;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
#pragma unroll
      for (int j = 0; j < i; ++j) repeats |= (experts[j] == experts[i] ? 1u : 0u) << i;
      if (experts[i] >= 0) ranks |= 1u << c_.rank_of(experts[i]);
    }
    const int lanes = 1 << lanes_log2_;
#pragma unroll 1
    for (int back = 1; back < lanes; ++back) {
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const int other = __shfl_up_sync(kAllLanes, experts[j], back);
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          repeats |= (back <= part() && other == experts[i] ? 1u : 0u) << i;
        }
      }
    }
#pragma unroll 1
    for (int step = 1; step < lanes; step *= 2) ranks |= __shfl_xor_sync(kAllLanes, ranks, step);
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      if (experts[i] >= 0 && (repeats >> i & 1u) == 0) {
        add(c_.map.rows, experts[i], RouteCount::word(1, earlier ? 1 : 0));
      }
    }
    if (part() != 0) ranks = 0;  // once for each token
#pragma unroll 1
    for (int rank = 0; rank < c_.num_ranks(); ++rank) {
      const bool goes = (ranks >> rank & 1u) != 0;
      const auto all = static_cast<unsigned>(__popc(__ballot_sync(kAllLanes, goes)));
      const auto before = static_cast<unsigned>(__popc(__ballot_sync(kAllLanes, goes && earlier)));
      if (c_.place.lane == 0 && all != 0) {
        add(c_.map.row_messages, rank, RouteCount::word(all, before));
      }
    }
  }

  __device__ void add(int counters, int i, std::uint32_t amount) const {
    ptx::red_add_relaxed_cta_shared_u32(c_.at<std::uint32_t>(counters) + i, amount);
  }

  const DispatchContext& c_;
  int lanes_log2_;
  bool counts_all_;
  int end_;
  int4 next_;
};

}  // namespace braid::cuda
