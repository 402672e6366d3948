// Combine's send by the blocks of a GPU: BF16 rows, one round.
//
// The warp ahead loads the experts' rows into shared memory as bulk copies, in the order in which
// they are used. At the expert rank the row warps sum a token's rows, into shared memory again, and
// the sending warp takes the sums home; at the token rank it takes the rows home as they are. To a
// rank with few tokens the row warps send a sum themselves, as words.
#pragma once

#include "backend/cuda/block_combine_context.cuh"
#include "backend/cuda/block_words.cuh"

namespace braid::cuda {

template <int kUnits>
struct Sums {
  float value[kUnits][kUnitChannels];

  __device__ void clear() {
#pragma unroll
    for (int u = 0; u < kUnits; ++u) {
#pragma unroll
      for (int i = 0; i < kUnitChannels; ++i) value[u][i] = 0.0F;
    }
  }
  __device__ void add(const Channels<kUnits>& x, float weight) {
#pragma unroll
    for (int u = 0; u < kUnits; ++u) {
      const std::uint32_t pairs[8] = {x.low[u].x,  x.low[u].y,  x.low[u].z,  x.low[u].w,
                                      x.high[u].x, x.high[u].y, x.high[u].z, x.high[u].w};
#pragma unroll
      for (int i = 0; i < 8; ++i) add_pair(pairs[i], weight, value[u][2 * i], value[u][2 * i + 1]);
    }
  }
  __device__ Channels<kUnits> rounded() const {
    Channels<kUnits> x;
#pragma unroll
    for (int u = 0; u < kUnits; ++u) {
      std::uint32_t pairs[8];
#pragma unroll
      for (int i = 0; i < 8; ++i) {
        pairs[i] = two_sums(value[u][2 * i], value[u][2 * i + 1]);
      }
      x.low[u] = {pairs[0], pairs[1], pairs[2], pairs[3]};
      x.high[u] = {pairs[4], pairs[5], pairs[6], pairs[7]};
    }
    return x;
  }
};

// The weighted sum of a token's rows, which come through the ring in the order of its choices; two
// at a time, where there are two.
template <Spread kSpread, int kUnits>
__device__ inline Channels<kUnits> sum_of_rows(CombineContext& c, const Term& term,
                                               unsigned named) {
  Sums<kUnits> sums;
  sums.clear();
#pragma unroll 1
  while (named != 0) {
    const int first = __ffs(named) - 1;
    named &= named - 1;
    const int next = __ffs(named) - 1;  // -1: it is the last
    named &= named - 1;
    const float weights[2] = {__shfl_sync(kAllLanes, term.weight, first),
                              __shfl_sync(kAllLanes, term.weight, max_of(next, 0))};
    Channels<kUnits> x[2];
    c.in.await_full();
    load_spread<kSpread>(x[0], c.in.row(), c.hidden);
    if (next >= 0) {
      RowRing second = c.in;
      second.next();
      second.await_full();
      load_spread<kSpread>(x[1], second.row(), c.hidden);
    }
    c.in.leave();
    if (next >= 0) c.in.leave();
    sums.add(x[0], weights[0]);
    if (next >= 0) sums.add(x[1], weights[1]);
  }
  return sums.rounded();
}

// The rows of the lanes in `rows`, in their order, into the ring: each lane loads its own.
__device__ inline void load_rows(CombineContext& c, const Term& term, unsigned rows) {
  while (rows != 0) {
    // As many at a time as the ring has, less those that the reader may keep: a lane that waits
    // holds its whole warp up.
    unsigned now = rows;
    while (__popc(now) > c.map.in_rows - RowRing::kUnread) now &= ~(0x80000000u >> __clz(now));
    rows &= ~now;
    RowRing own = c.in;
    own.skip(__popc(now & lanes_below(c.place.lane)));
    // All lanes for each row: racecheck does not follow lanes that wait at barriers of their own.
#pragma unroll 1
    for (int i = __popc(now); i > 0; --i) {
      c.in.await_empty();
      c.in.next();
    }
    if ((now >> c.place.lane & 1u) != 0) own.load(c.expert_row(term.row), c.row_bytes());
    __syncwarp();
  }
}

template <bool kAtExpertRank>
class CombineSender {
 public:
  __device__ explicit CombineSender(CombineContext& context) : c_(context) {}

  __device__ Homeward load_first(const Share& share) const {
    return c_.load_home(share.first / kParts);
  }

  // The row warps begin at once; the sending warp first makes sure that the depth is free. A token
  // is sent to only after that, and so is the signal, which says only that this rank has come this
  // far: each row has a flag of its own.
  // in_readers: warps that read what is loaded.
  __device__ void begin(int in_readers) {
    const std::uint32_t newest = protocol::state_of(c_.a.op).epoch;
    const std::uint32_t dispatched = protocol::record_of(c_.a.op).dispatch_epoch;
    c_.load_ranks();
    std::uint32_t unraised = 0;
    Word depths = 0;
    if (c_.place.sends()) {
      unraised = protocol::state_of(c_.a.op).unraised;
      depths = c_.place.peek_depths();
      if (c_.place.lane == 0) *c_.at<std::uint32_t>(c_.map.failed) = 0;
      c_.out.init(kRowWarps, 1);
    } else if (c_.place.is_ahead()) {
      c_.in.init_loaded(in_readers);
    }
    __syncthreads();
    c_.set_epochs(newest + 1, dispatched);
    c_.settle_ranks();
    if (!c_.place.sends()) return;
    c_.leave_state_early();
    c_.may_send = !c_.place.await_depth(depths, c_.epoch, c_.active,
                                        {machine::Operation::kCombineSend}, c_.a.waited_ns);
    c_.note(!c_.may_send);
    __syncwarp();
    if constexpr (kAtExpertRank) ptx::barrier_cta_arrive(kDepthBarrier, kReadThreads);
    if (c_.place.worker == 0 && c_.may_send) post_signals();
    c_.place.raise_unraised(unraised, c_.active);
  }

  template <int kUnits>
  __device__ void run(const Share& share, const Homeward& first) {
    if (c_.place.is_ahead()) {
      for_each_home(share, first,
                    [&](const Homeward& home, unsigned rows) { load_rows(c_, home.term, rows); });
    } else if (c_.place.sends()) {
      if constexpr (kAtExpertRank) {
        send_rows(c_.out, share, first);
      } else {
        send_rows(c_.in, share, first);
      }
    } else if constexpr (kAtExpertRank) {
      ptx::barrier_cta_sync(kDepthBarrier, kReadThreads);
      for_each_home(share, first, [&](const Homeward& home, unsigned rows) {
        if constexpr (kUnits == 1) {
          if (c_.as_words(home.term, rows)) return send_words_home(home, rows);
        }
        const auto sum = sum_of_rows<Spread::kUnits, kUnits>(c_, home.term, rows);
        c_.out.await_empty();
        store_channels(sum, c_.out.row(), c_.hidden);
        c_.out.fill();
      });
    }
  }

 private:
  __device__ void post_signals() const {
    if (!c_.is_active(c_.place.lane)) return;
    const std::int64_t signal =
        c_.a.op.map.signal_flag(layout::Signal::kCombine, c_.depth, c_.place.rank(), 0);
    ptx::st_relaxed_sys_u64(reinterpret_cast<Word*>(c_.peer_block + signal),
                            layout::make_word(c_.epoch, 0));
  }

  // Calls f(home, rows) for each token of the share that rows go home to: the lanes whose rows.
  template <class F>
  __device__ void for_each_home(const Share& share, const Homeward& first, F&& f) const {
    const int items = c_.num_homes() * kParts;
    Homeward next = first;
#pragma unroll 1
    for (int i = share.first; i < items; i += share.step) {
      const Homeward home = next;
      next = c_.load_home((i + share.step) / kParts);
      unsigned rows = c_.named(home.term);
      if (!kAtExpertRank) rows = rows_of_part(home.term, rows, i % kParts);
      if (rows != 0 && c_.is_active(home.source)) f(home, rows);
    }
  }

  // Each expert's row once, in its first naming's slot; every kParts-th of them.
  __device__ unsigned rows_of_part(const Term& term, unsigned named, int part) const {
    const unsigned below = lanes_below(c_.place.lane);
    const unsigned same = lanes_with(static_cast<int>(term.row), 0, c_.k()) & named;
    const bool is_first = (named >> c_.place.lane & 1u) != 0 && (same & below) == 0;
    const unsigned firsts = __ballot_sync(kAllLanes, is_first);
    return __ballot_sync(kAllLanes, is_first && __popc(firsts & below) % kHomeParts == part);
  }

  __device__ std::int64_t slot_of(const Homeward& home, unsigned rows) const {
    return std::int64_t{home.token} * c_.k() + __ffs(rows) - 1;
  }

  __device__ void send_words_home(const Homeward& home, unsigned rows) const {
    const auto sum = sum_of_rows<Spread::kPairs, 1>(c_, home.term, rows);
    std::byte* block = c_.peer(home.source);
    if (c_.failed()) return;
    const std::int64_t row = c_.a.op.map.word_row(c_.depth, slot_of(home, rows));
    send_words(sum, reinterpret_cast<Word*>(block + row), c_.hidden, c_.epoch);
  }

  __device__ void send_rows(RowRing& ring, const Share& share, const Homeward& first) {
    SentRows sent(c_.epoch);
    for_each_home(share, first, [&](const Homeward& home, unsigned rows) {
      if (kAtExpertRank && c_.as_words(home.term, rows)) return;
#pragma unroll 1
      for (; rows != 0; rows &= rows - 1) {
        const std::int64_t slot = slot_of(home, rows);
        ring.await_full();
        const bool copies = c_.place.lane == 0 && c_.may_send;
        std::byte* block = c_.peer(home.source);
        Word* flag = nullptr;
        if (copies) {
          ptx::bulk_copy_shared_to_global(block + c_.a.op.map.combine_row(c_.depth, slot),
                                          ring.row(), c_.row_bytes());
          flag = reinterpret_cast<Word*>(block + c_.a.op.map.combine_flag(c_.depth, slot));
        }
        sent.add(flag);
        ring.take();
        if (kAtExpertRank) break;  // one sum, in the first choice's slot
      }
    });
    sent.finish();
  }

  static constexpr int kParts = kAtExpertRank ? 1 : kHomeParts;

  CombineContext& c_;
};

}  // namespace braid::cuda
