// Counting a top-k table for a block: rows by expert and messages by rank, of all tokens or of those
// before the block's own.
#pragma once

#include "backend/cuda/block_dispatch_context.cuh"

namespace braid::cuda {

// Four choices of a token a thread, and at most 32 ranks; the row warps' work. What they load first is
// on its way while other things are done.
class RouteCounter {
 public:
  __device__ explicit RouteCounter(const DispatchContext& c)
      : c_(c), lanes_(lanes_of(c.k())), counts_all_(c.place.worker < c.num_ranks()) {
    end_ = counts_all_ ? c.a.topk.num_tokens : static_cast<int>(c.tokens.begin);
    next_ = load(0);
  }

  // Between two of the row warps' barriers.
  __device__ void run() {
    const int per_pass = kRowThreads / lanes_;
    for (int pass = 0; pass * per_pass < end_; ++pass) {
      const int4 four = next_;
      if ((pass + 1) * per_pass < end_) next_ = load(pass + 1);
      // A warp whose lanes have no token has nothing to count.
      if (pass * per_pass + c_.place.warp * (kWarpLanes / lanes_) < end_) count(pass, four);
    }
  }

  BRAID_HD static bool takes(const protocol::DispatchArgs& a) {
    return a.rules.experts.num_ranks <= kWarpLanes;
  }

 private:
  // For a token: a power of two, so that none stands in two warps.
  __device__ static int lanes_of(int k) { return k <= 4 ? 1 : k <= 8 ? 2 : k <= 16 ? 4 : 8; }

  __device__ int token_of(int pass) const { return (pass * kRowThreads + c_.place.thread) / lanes_; }

  __device__ int4 load(int pass) const {
    const int token = token_of(pass);
    if (token >= end_) return {-1, -1, -1, -1};
    const int first = c_.place.thread % lanes_ * 4;
    const auto expert = [&](int choice) {
      return choice < c_.k() ? c_.a.topk.expert(token, choice) : -1;
    };
    return {expert(first), expert(first + 1), expert(first + 2), expert(first + 3)};
  }

  __device__ void count(int pass, const int4& four) const {
    const int experts[4] = {four.x, four.y, four.z, four.w};
    const bool earlier = token_of(pass) < static_cast<int>(c_.tokens.begin);
    unsigned repeats = 0, ranks = 0;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
#pragma unroll
      for (int j = 0; j < i; ++j) repeats |= (experts[j] == experts[i] ? 1u : 0u) << i;
      if (experts[i] >= 0) ranks |= 1u << (experts[i] / c_.num_local());
    }
    const int part = c_.place.lane % lanes_;
    for (int back = 1; back < lanes_; ++back) {
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const int other = __shfl_up_sync(kAllLanes, experts[j], back);
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          repeats |= (back <= part && other == experts[i] ? 1u : 0u) << i;
        }
      }
    }
    for (int step = 1; step < lanes_; step *= 2) ranks |= __shfl_xor_sync(kAllLanes, ranks, step);
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      if (experts[i] < 0 || (repeats >> i & 1u) != 0) continue;
      if (counts_all_) add(c_.map.total_rows, experts[i], 1);
      if (earlier) add(c_.map.before_rows, experts[i], 1);
    }
    if (part != 0) ranks = 0;  // once for each token
    for (int rank = 0; rank < c_.num_ranks(); ++rank) {
      const bool goes = (ranks >> rank & 1u) != 0;
      const unsigned all = __ballot_sync(kAllLanes, goes);
      const unsigned before = __ballot_sync(kAllLanes, goes && earlier);
      if (c_.place.lane != 0) continue;
      if (counts_all_ && all != 0) add(c_.map.total_messages, rank, __popc(all));
      if (before != 0) add(c_.map.before_messages, rank, __popc(before));
    }
  }

  __device__ void add(std::int64_t counters, int i, int amount) const {
    ptx::red_add_relaxed_cta_shared_u32(c_.at<std::uint32_t>(counters) + i,
                                        static_cast<std::uint32_t>(amount));
  }

  const DispatchContext& c_;
  int lanes_;
  bool counts_all_;
  int end_;
  int4 next_;
};

}  // namespace braid::cuda
