// Rows on the GPU, for a warp or a block: the codec's definitions, shared out over lanes.
#pragma once

#include <cstddef>
#include <cstdint>

#include "codec/logfmt.hpp"
#include "codec/row.hpp"
#include "codec/scale.hpp"
#include "machine/machine.hpp"
#include "ptx/convert.cuh"

namespace braid::cuda {

inline constexpr unsigned kAllLanes = 0xffffffffu;

// A thread among those that share a row; whole warps of them.
struct Team {
  int thread = 0;
  int num_threads = 32;
};

__device__ inline std::uint32_t magnitudes(std::uint32_t pair) { return pair & 0x7fff7fffu; }

// The largest magnitude of eight channels, in both halves' maximum.
__device__ inline std::uint32_t pair_max(const uint4& x) {
  return __vmaxu2(__vmaxu2(magnitudes(x.x), magnitudes(x.y)),
                  __vmaxu2(magnitudes(x.z), magnitudes(x.w)));
}

__device__ inline std::uint32_t two_codes(std::uint32_t pair, float inverse) {
  const float low = codec::bf16_to_float(static_cast<std::uint16_t>(pair));
  const float high = codec::float_from_bits(pair & 0xffff0000u);
  return ptx::cvt_rn_satfinite_e4m3x2_f32(codec::mul_rn(high, inverse),
                                          codec::mul_rn(low, inverse));
}

__device__ inline std::uint32_t four_codes(std::uint32_t pair, std::uint32_t next, float inverse) {
  return two_codes(pair, inverse) | two_codes(next, inverse) << 16;
}

// Eight channels of a group of 128, whose sixteen lanes stand together.
__device__ inline void encode_eight(DispatchFormat format, const uint4& x, int group, bool exists,
                                    std::byte* data, std::byte* scales) {
  std::uint32_t most = pair_max(x);
  for (int step = 8; step > 0; step /= 2) {
    most = __vmaxu2(most, __shfl_xor_sync(kAllLanes, most, step));
  }
  const std::uint32_t amax = max_of(most & 0xffffu, most >> 16);
  if (!exists) return;
  const codec::GroupScale scale = codec::group_scale(format, static_cast<std::uint16_t>(amax));
  const int lane = static_cast<int>(threadIdx.x) % 16;
  const uint2 codes{four_codes(x.x, x.y, scale.inverse), four_codes(x.z, x.w, scale.inverse)};
  reinterpret_cast<uint2*>(data)[group * 16 + lane] = codes;
  if (lane != 0) return;
  if (format == DispatchFormat::kFp8Ue8m0) {
    scales[group] = static_cast<std::byte>(codec::scale_to_ue8m0(scale.scale));
  } else {
    reinterpret_cast<float*>(scales)[group] = scale.scale;
  }
}

// FP8: data and scales as codec::encode_dispatch gives them; scales zeroed up to scales_end.
__device__ inline void encode_fp8(DispatchFormat format, const std::uint16_t* x, int hidden,
                                  const Team& team, std::byte* data, std::byte* scales,
                                  const std::byte* scales_end) {
  constexpr int kAhead = 2;  // loads in flight a thread: a token of 7168 channels at 448 threads
  const int num_groups = hidden / kScaleGroup;
  const int own = team.thread / 16;
  const int step = team.num_threads / 16;
  const auto* vectors = reinterpret_cast<const uint4*>(x);
  for (int base = 0; base < num_groups; base += kAhead * step) {
    uint4 values[kAhead];
#pragma unroll
    for (int i = 0; i < kAhead; ++i) {
      const int group = base + i * step + own;
      values[i] = group < num_groups ? vectors[group * 16 + team.thread % 16] : uint4{};
    }
#pragma unroll
    for (int i = 0; i < kAhead; ++i) {
      const int group = base + i * step + own;
      encode_eight(format, values[i], group, group < num_groups, data, scales);
    }
  }
  const std::int64_t used = codec::dispatch_scale_bytes(format, hidden);
  if (format == DispatchFormat::kFp8Ue8m0 && team.thread < used - num_groups) {
    scales[num_groups + team.thread] = std::byte{0};
  }
  if (team.thread < scales_end - scales - used) scales[used + team.thread] = std::byte{0};
}

// 16-byte steps of a copy by ordinary loads and stores.
__device__ inline void copy_words(std::byte* to, const std::byte* from, std::int64_t bytes,
                                  const Team& team) {
  const auto both = reinterpret_cast<std::uintptr_t>(to) | reinterpret_cast<std::uintptr_t>(from) |
                    static_cast<std::uintptr_t>(bytes);
  if (both % 16 == 0) {
    for (std::int64_t i = team.thread; i < bytes / 16; i += team.num_threads) {
      reinterpret_cast<uint4*>(to)[i] = reinterpret_cast<const uint4*>(from)[i];
    }
  } else {  // everything that travels is a multiple of 4 bytes
    for (std::int64_t i = team.thread; i < bytes / 4; i += team.num_threads) {
      reinterpret_cast<std::uint32_t*>(to)[i] = reinterpret_cast<const std::uint32_t*>(from)[i];
    }
  }
}

// A pair that the GPU has rounded, with the codec's NaN in its NaN's place.
__device__ inline std::uint32_t with_codec_nan(std::uint32_t pair) {
  constexpr std::uint32_t kItsNan = 0x7fff7fffu;
  constexpr std::uint32_t kDifference = (0x7fffu ^ codec::kBf16QuietNan) * 0x10001u;
  return pair ^ (__vcmpeq2(pair, kItsNan) & kDifference);
}
// The same for many, of which few have one: as a signed number it is the largest.
template <int kVectors>
__device__ inline void take_codec_nan(uint4 (&pairs)[kVectors]) {
  std::uint32_t most = 0x80008000u;
#pragma unroll
  for (int i = 0; i < kVectors; ++i) {
    const std::uint32_t low = __vmaxs2(pairs[i].x, pairs[i].y);
    const std::uint32_t high = __vmaxs2(pairs[i].z, pairs[i].w);
    most = __vmaxs2(most, __vmaxs2(low, high));
  }
  if ((most & 0xffffu) != 0x7fffu && most >> 16 != 0x7fffu) return;
#pragma unroll
  for (int i = 0; i < kVectors; ++i) {
    pairs[i] = {with_codec_nan(pairs[i].x), with_codec_nan(pairs[i].y), with_codec_nan(pairs[i].z),
                with_codec_nan(pairs[i].w)};
  }
}

// codec::sum_to_bf16 of each: the GPU's own conversion, but for its NaN (tests/gpu hold it to the
// codec for every float).
__device__ inline std::uint32_t two_sums(float low, float high) {
  return with_codec_nan(ptx::cvt_rn_bf16x2_f32(high, low));
}

// codec::sum_to_bf16 of what two rows add up to, for a pair of channels, but for its NaN (tests/gpu
// hold it to the codec for every two BF16).
__device__ inline std::uint32_t two_pairs_sum(std::uint32_t a, std::uint32_t b) {
  return ptx::add_rn_bf16x2(ptx::add_rn_bf16x2(a, b), 0u);
}

__device__ inline uint4 two_sums_of(const uint4& a, const uint4& b) {
  return {two_pairs_sum(a.x, b.x), two_pairs_sum(a.y, b.y), two_pairs_sum(a.z, b.z),
          two_pairs_sum(a.w, b.w)};
}

__device__ inline std::uint32_t packed(std::uint32_t low, std::uint32_t high) {
  return low | high << 16;
}

}  // namespace braid::cuda
