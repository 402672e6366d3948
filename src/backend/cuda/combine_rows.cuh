// Combine's rows on the GPU: LogFMT by a warp, weighted sums by a block.
#pragma once

#include "backend/cuda/rows.cuh"
#include "backend/cuda/shared_map.hpp"

namespace braid::cuda {

// Four channels of a group that a warp holds together, lane by lane.
struct FourChannels {
  uint2 pairs;
  __device__ std::uint16_t channel(int i) const {
    const std::uint32_t pair = i < 2 ? pairs.x : pairs.y;
    return static_cast<std::uint16_t>(i % 2 == 0 ? pair : pair >> 16);
  }
};

__device__ inline codec::LogFmtMeta group_meta(const FourChannels& x) {
  std::uint32_t largest = 0;
  std::uint32_t smallest = 0xffff;  // less one, so that zero wraps round to the largest
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const std::uint32_t magnitude = codec::bf16_magnitude(x.channel(i));
    largest = max_of(largest, magnitude);
    smallest = min_of(smallest, (magnitude - 1u) & 0xffffu);
  }
  largest = __reduce_max_sync(kAllLanes, largest);
  smallest = __reduce_min_sync(kAllLanes, smallest);
  return {static_cast<std::uint16_t>(largest), static_cast<std::uint16_t>(smallest + 1u)};
}

// One warp's work; returns the row's bytes, the same in all lanes.
__device__ inline std::int64_t encode_logfmt(const std::uint16_t* x, int hidden, int lane,
                                             std::byte* row) {
  const int num_groups = hidden / kScaleGroup;
  const std::int64_t meta_bytes = codec::logfmt_meta_bytes(hidden);
  std::int64_t at = meta_bytes;
  for (int group = 0; group < num_groups; ++group) {
    const FourChannels four{reinterpret_cast<const uint2*>(x)[group * 32 + lane]};
    const codec::LogFmtMeta meta = group_meta(four);
    if (lane == 0) reinterpret_cast<std::uint32_t*>(row)[group] = packed(meta.amax, meta.amin);
    if (meta.is_cast()) {
      const codec::LogFmtGrid grid(meta);
      std::uint32_t low = 0;
      std::uint32_t high = 0;
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const std::uint32_t ten_bits = grid.encode(four.channel(i));
        low |= (ten_bits & 0xffu) << (8 * i);
        high |= (ten_bits >> 8) << (2 * i);
      }
      reinterpret_cast<std::uint32_t*>(row + at)[lane] = low;
      row[at + codec::kLogFmtLowBytes + lane] = static_cast<std::byte>(high);
    } else {
      reinterpret_cast<uint2*>(row + at)[lane] = four.pairs;
    }
    at += meta.group_bytes();
  }
  if (lane < meta_bytes / 4 - num_groups) {
    reinterpret_cast<std::uint32_t*>(row)[num_groups + lane] = 0;
  }
  return at;
}

__device__ inline codec::LogFmtMeta meta_at(const std::byte* row, int group) {
  const std::uint32_t word = reinterpret_cast<const std::uint32_t*>(row)[group];
  return {static_cast<std::uint16_t>(word), static_cast<std::uint16_t>(word >> 16)};
}

// Where a group's bytes begin in a LogFMT row: those before it, counted by the warp.
__device__ inline std::int64_t group_at(const std::byte* row, int hidden, int group, int lane) {
  int before = 0;
  for (int i = lane; i < group; i += kWarpLanes) before += meta_at(row, i).group_bytes();
  return codec::logfmt_meta_bytes(hidden) + __reduce_add_sync(kAllLanes, before);
}

// Adds a lane's four channels of one group of a LogFMT row.
__device__ inline void add_logfmt(const std::byte* row, int hidden, int group, int lane,
                                  float weight, float (&sums)[4]) {
  const std::byte* in = row + group_at(row, hidden, group, lane);
  const codec::LogFmtMeta meta = meta_at(row, group);
  if (!meta.is_cast()) {
    const FourChannels four{reinterpret_cast<const uint2*>(in)[lane]};
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      sums[i] = codec::accumulate(sums[i], weight, codec::bf16_to_float(four.channel(i)));
    }
    return;
  }
  const codec::LogFmtGrid grid(meta);
  const std::uint32_t low = reinterpret_cast<const std::uint32_t*>(in)[lane];
  const auto high = static_cast<std::uint32_t>(in[codec::kLogFmtLowBytes + lane]);
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const std::uint32_t ten_bits = ((low >> (8 * i)) & 0xffu) | ((high >> (2 * i)) & 3u) << 8;
    sums[i] = codec::accumulate(sums[i], weight, grid.decode(ten_bits));
  }
}

// A block's work: groups of 128 channels over its warps.
__device__ inline void sum_logfmt(const machine::SumRequest& sum, const Team& team,
                                  std::uint16_t* out) {
  const int lane = team.thread % kWarpLanes;
  const int num_warps = team.num_threads / kWarpLanes;
  for (int group = team.thread / kWarpLanes; group < sum.hidden / kScaleGroup; group += num_warps) {
    float sums[4] = {0.0F, 0.0F, 0.0F, 0.0F};
    for (int i = 0; i < sum.num_rows; ++i) {
      add_logfmt(sum.rows[i], sum.hidden, group, lane, sum.weights[i], sums);
    }
    const uint2 four{two_sums(sums[0], sums[1]), two_sums(sums[2], sums[3])};
    reinterpret_cast<uint2*>(out)[group * 32 + lane] = four;
  }
}

__device__ inline void add_pair(std::uint32_t pair, float weight, float& low, float& high) {
  low = codec::accumulate(low, weight, codec::bf16_to_float(static_cast<std::uint16_t>(pair)));
  high = codec::accumulate(high, weight, codec::float_from_bits(pair & 0xffff0000u));
}

__device__ inline void add_eight(const uint4& x, float weight, float (&sums)[8]) {
  add_pair(x.x, weight, sums[0], sums[1]);
  add_pair(x.y, weight, sums[2], sums[3]);
  add_pair(x.z, weight, sums[4], sums[5]);
  add_pair(x.w, weight, sums[6], sums[7]);
}
// But for its NaN.
__device__ inline uint4 eight_rounded(const float (&sums)[8]) {
  return {ptx::cvt_rn_bf16x2_f32(sums[1], sums[0]), ptx::cvt_rn_bf16x2_f32(sums[3], sums[2]),
          ptx::cvt_rn_bf16x2_f32(sums[5], sums[4]), ptx::cvt_rn_bf16x2_f32(sums[7], sums[6])};
}
__device__ inline uint4 eight_sums(const float (&sums)[8]) {
  uint4 out[1] = {eight_rounded(sums)};
  take_codec_nan(out);
  return out[0];
}

// A block's work: eight channels a thread at a time.
__device__ inline void sum_bf16(const machine::SumRequest& sum, const Team& team,
                                std::uint16_t* out) {
  for (int at = team.thread; at < sum.hidden / 8; at += team.num_threads) {
    float sums[8] = {};
    for (int i = 0; i < sum.num_rows; ++i) {
      const float weight = sum.weights == nullptr ? 1.0F : sum.weights[i];
      add_eight(reinterpret_cast<const uint4*>(sum.rows[i])[at], weight, sums);
    }
    reinterpret_cast<uint4*>(out)[at] = eight_sums(sums);
  }
}

}  // namespace braid::cuda
