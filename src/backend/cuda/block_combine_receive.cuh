// Combine's receive by the blocks of a GPU: BF16 rows, one round.
#pragma once

#include "backend/cuda/block_combine_send.cuh"

namespace braid::cuda {

template <bool kAtExpertRank, int kUnits>
class CombineReceiver {
 public:
  // A token that rows come home to: a lane's choice.
  struct Arriving {
    int expert = -1;
    float weight = 1.0F;
    Term own;
  };

  __device__ explicit CombineReceiver(CombineContext& context) : c_(context) {}

  __device__ Arriving load_token(int token) const {
    Arriving in;
    if (c_.place.lane >= c_.k() || token >= c_.a.topk.num_tokens) return in;
    in.expert = c_.a.topk.expert(token, c_.place.lane);
    if (!kAtExpertRank) in.weight = c_.a.weights[std::int64_t{token} * c_.k() + c_.place.lane];
    if (c_.keeps_own) in.own = c_.load_term(c_.place.rank(), token);
    return in;
  }

  __device__ void run(const Share& share, const Arriving& first) {
    const bool loads = c_.keeps_own && c_.place.is_ahead();
    if (!c_.place.has_rows() && !loads) return;
    if constexpr (kAtExpertRank && kUnits == 1) {
      if (c_.a.as_words(static_cast<std::uint32_t>(c_.a.topk.num_tokens))) {
        return run_words(share, first);
      }
    }
    Arriving next = first;
#pragma unroll 1
    for (int token = share.first; token < c_.a.topk.num_tokens; token += share.step) {
      const Arriving in = next;
      next = load_token(token + share.step);
      if (loads) {
        load_rows(c_, in.own, own_rows(in));
      } else {
        // After a failure too: the rows that are loaded for it are waited for by nobody else.
        c_.note(!receive_token(token, in));
      }
    }
  }

  // The sending warp's: every peer came this far, also one that had nothing for this rank.
  __device__ void end() const {
    if (c_.place.sends() && c_.place.worker == 0 && !c_.failed()) await_signals();
  }
  // Of a kernel that only receives, the sending warp's: when all row warps of all blocks have read
  // what they read.
  __device__ void raise_received() const {
    if (c_.place.has_rows()) ptx::barrier_cta_arrive(kReadBarrier, kReadThreads);
    if (!c_.place.sends()) return;
    ptx::barrier_cta_sync(kReadBarrier, kReadThreads);
    if (c_.place.is_last(layout::Phase::kCombineReceive) && !c_.failed()) {
      c_.place.raise_received(c_.epoch, c_.active);
    }
  }

 private:
  // The lanes whose choices are rows of this rank itself, which come through the ring.
  __device__ unsigned own_rows(const Arriving& in) const {
    if (!c_.keeps_own) return 0;
    if (kAtExpertRank) return c_.named(in.own);
    const bool own = in.expert >= 0 && c_.rank_of(in.expert) == c_.place.rank();
    return __ballot_sync(kAllLanes, own && c_.is_active(c_.place.rank()));
  }

  // A warp's part of a token's channels. Its lanes are choices where flags and weights are
  // concerned.
  __device__ bool receive_token(int token, const Arriving& in) {
    const int lane = c_.place.lane;
    const int rank = in.expert >= 0 ? c_.rank_of(in.expert) : -1;
    const bool counts = in.expert >= 0 && c_.is_active(rank);
    // One row for each rank, or for each expert that is named: in its first choice's slot.
    const unsigned same = lanes_with(kAtExpertRank ? rank : in.expert, 0, c_.k());
    const int first = lane < c_.k() ? __ffs(same) - 1 : lane;
    const bool own = c_.keeps_own && rank == c_.place.rank();
    const unsigned adds = __ballot_sync(kAllLanes, counts && (!kAtExpertRank || first == lane));
    const unsigned owns = kAtExpertRank ? __ballot_sync(kAllLanes, own) : own_rows(in);
    Channels<kUnits> own_sum{};
    if (kAtExpertRank) {
      const unsigned named = own_rows(in);
      if (named != 0) own_sum = sum_of_rows<Spread::kUnits, kUnits>(c_, in.own, named);
    }
    const std::int64_t slots = std::int64_t{token} * c_.k();
    bool reached = true;
    if (counts && first == lane && !own) {
      const Word* flag = c_.place.word(c_.a.op.map.combine_flag(c_.depth, slots + lane));
      reached = c_.place.flags
                    .wait(flag, c_.epoch, {machine::Operation::kCombineReceive, 0, rank},
                          c_.place.warp == 0 ? c_.waited(rank) : nullptr)
                    .reached;
    }
    if (__any_sync(kAllLanes, !reached) != 0) {
      // What is loaded for it all the same is taken, so that the ring goes on.
      if (!kAtExpertRank && owns != 0) sum_of_rows<Spread::kUnits, kUnits>(c_, in.own, owns);
      return false;
    }
    __syncwarp();
    const std::byte* row =
        c_.place.machine.local + c_.a.op.map.combine_row(c_.depth, slots + first);
    Sums<kUnits> sums;
    sums.clear();
    add_rows(sums, adds, owns, {row, in.weight, own_sum});
    store_channels(sums.rounded(), c_.a.out + std::int64_t{token} * c_.hidden, c_.hidden);
    return true;
  }

  // Few tokens, whose sums come as words.
  __device__ void run_words(const Share& share, const Arriving& first) {
    Arriving in = first;
#pragma unroll 1
    for (int token = share.first; token < c_.a.topk.num_tokens; token += share.step) {
      if (token != share.first) in = load_token(token);
      if (c_.place.is_ahead()) {
        load_rows(c_, in.own, own_rows(in));
      } else {
        c_.note(!receive_words(token, in));
      }
    }
  }
  // The same of sums that come as words: each thread waits for its own.
  __device__ bool receive_words(int token, const Arriving& in) {
    const int lane = c_.place.lane;
    const int rank = in.expert >= 0 ? c_.rank_of(in.expert) : -1;
    const bool counts = in.expert >= 0 && c_.is_active(rank);
    const unsigned same = lanes_with(rank, 0, c_.k());
    unsigned adds = __ballot_sync(kAllLanes, counts && __ffs(same) - 1 == lane);
    const unsigned named = own_rows(in);
    Channels<1> own_sum{};
    if (named != 0) own_sum = sum_of_rows<Spread::kPairs, 1>(c_, in.own, named);
    Sums<1> sums;
    sums.clear();
    bool reached = true;
#pragma unroll 1
    for (; adds != 0; adds &= adds - 1) {
      const int choice = __ffs(adds) - 1;
      const int from = __shfl_sync(kAllLanes, rank, choice);
      Channels<1> x = own_sum;
      if (!c_.keeps_own || from != c_.place.rank()) {
        const Word* row =
            c_.place.word(c_.a.op.map.word_row(c_.depth, std::int64_t{token} * c_.k() + choice));
        reached &= c_.place.flags
                       .wait_for(WordsLook{x, row, c_.hidden, c_.epoch}, c_.epoch,
                                 {machine::Operation::kCombineReceive, 0, from},
                                 c_.place.thread == 0 ? c_.waited(from) : nullptr)
                       .reached;
      }
      sums.add(x, 1.0F);
    }
    if (__any_sync(kAllLanes, !reached) != 0) return false;
    store_pairs(sums.rounded(), c_.a.out + std::int64_t{token} * c_.hidden, c_.hidden);
    return true;
  }

  struct Rows {
    const std::byte* row;  // of the lane's choice
    float weight;
    const Channels<kUnits>& own_sum;
  };
  // Of a rank's own: the sum that was made, or the next row of the ring.
  __device__ void add_rows(Sums<kUnits>& sums, unsigned adds, unsigned owns, const Rows& rows) {
    constexpr int kAhead = 4 / kUnits;
    while (adds != 0) {
      Channels<kUnits> x[kAhead];
      float weights[kAhead];
      int count = 0;
#pragma unroll
      for (int i = 0; i < kAhead; ++i) {
        if (adds == 0) break;
        const int choice = __ffs(adds) - 1;
        adds &= adds - 1;
        const auto row = reinterpret_cast<const std::byte*>(
            __shfl_sync(kAllLanes, reinterpret_cast<unsigned long long>(rows.row), choice));
        weights[i] = __shfl_sync(kAllLanes, rows.weight, choice);
        if ((owns >> choice & 1u) == 0) {
          load_channels(x[i], row, c_.hidden);
        } else if (kAtExpertRank) {
          x[i] = rows.own_sum;
        } else {
          c_.in.await_full();
          load_channels(x[i], c_.in.row(), c_.hidden);
          c_.in.leave();
        }
        ++count;
      }
#pragma unroll
      for (int i = 0; i < kAhead; ++i) {
        if (i < count) sums.add(x[i], weights[i]);
      }
    }
  }

  __device__ void await_signals() const {
#pragma unroll 1
    for (int source = c_.place.lane; source < c_.num_ranks(); source += kWarpLanes) {
      if (!c_.is_active(source)) continue;
      const Word* flag =
          c_.place.word(c_.a.op.map.signal_flag(layout::Signal::kCombine, c_.depth, source, 0));
      c_.note(!c_.place.flags
                   .wait(flag, c_.epoch, {machine::Operation::kCombineReceive, 0, source},
                         c_.waited(source))
                   .reached);
    }
    __syncwarp();
  }

  CombineContext& c_;
};

}  // namespace braid::cuda
