// Rows that go home as words which are their own flags (layout/map.hpp): two words to a store.
//
// Neighboring threads have neighboring words, so that a warp's store is a few whole lines: a thread
// has other channels than of a row that is bytes.
#pragma once

#include "backend/cuda/block.cuh"

namespace braid::cuda {

static_assert(layout::kMostWordHidden <= kRowThreads * kUnitChannels, "a thread has one unit");

// How a row's channels are spread over the threads.
enum class Spread {
  kUnits,  // sixteen in a row to each: Channels
  kPairs,  // four in a row, two words, of every 4 * kRowThreads
};

inline constexpr int kUnitPairs = kUnitChannels / 4;

// Pair i of a thread's, among the row's.
__device__ inline int pair_of(int i) { return i * kRowThreads + static_cast<int>(threadIdx.x); }

// Calls f(i, channels) for each of the thread's pairs, four channels each: to read or to write.
template <class F>
__device__ inline void for_pairs(Channels<1>& x, F&& f) {
  uint4 &low = x.low[0], &high = x.high[0];
  uint2 pairs[kUnitPairs] = {{low.x, low.y}, {low.z, low.w}, {high.x, high.y}, {high.z, high.w}};
#pragma unroll
  for (int i = 0; i < kUnitPairs; ++i) f(pair_of(i), pairs[i]);
  low = {pairs[0].x, pairs[0].y, pairs[1].x, pairs[1].y};
  high = {pairs[2].x, pairs[2].y, pairs[3].x, pairs[3].y};
}

// Past the row's end there are zeros.
template <Spread kSpread, int kUnits>
__device__ inline void load_spread(Channels<kUnits>& x, const void* row, int hidden) {
  if constexpr (kSpread == Spread::kUnits) {
    load_channels(x, row, hidden);
  } else {
    const auto* vectors = static_cast<const uint2*>(row);
    const int count = hidden / 4;
    for_pairs(x, [&](int at, uint2& pair) { pair = at < count ? vectors[at] : uint2{}; });
  }
}

__device__ inline void store_pairs(Channels<1> x, void* row, int hidden) {
  auto* vectors = static_cast<uint2*>(row);
  const int count = hidden / 4;
  for_pairs(x, [&](int at, uint2& pair) {
    if (at < count) vectors[at] = pair;
  });
}

__device__ inline void send_words(Channels<1> x, Word* row, int hidden, std::uint32_t epoch) {
  const int count = hidden / 4;
  for_pairs(x, [&](int at, uint2& pair) {
    if (at >= count) return;
    ptx::st_relaxed_sys_v2_u64(
        row + 2 * at, {layout::make_word(epoch, pair.x), layout::make_word(epoch, pair.y)});
  });
}

// A thread's look at its words of a row, for RankFlags::wait_for.
struct WordsLook {
  Channels<1>& x;
  const Word* row;
  int hidden;
  std::uint32_t epoch;

  __device__ Word operator()() const {
    Word seen = layout::make_word(epoch, 0);
    const int count = hidden / 4;
    for_pairs(x, [&](int at, uint2& pair) {
      if (at >= count) {
        pair = {};
        return;
      }
      const ptx::WordPair words = ptx::ld_relaxed_sys_v2_u64(row + 2 * at);
      if (layout::epoch_of(words.first) != epoch) seen = words.first;
      if (layout::epoch_of(words.second) != epoch) seen = words.second;
      pair = {layout::value_of(words.first), layout::value_of(words.second)};
    });
    return seen;
  }
};

}  // namespace braid::cuda
