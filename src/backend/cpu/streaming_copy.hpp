// Copies that write past the caches. Rows on their way to a peer's slot or to an expert's place are
// read next by someone else, much later or not from this core: an ordinary store would first fetch
// the line that it is about to overwrite, and push out lines that are still wanted.
//
// Such stores are not ordered with a later release store: finish_streaming() comes between.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

// Sanitizers see what is written through memcpy, and don't see these stores.
#if defined(__SSE2__) && !defined(__SANITIZE_THREAD__) && !defined(__SANITIZE_ADDRESS__)
#define BRAID_STREAMING_STORES 1
#include <emmintrin.h>
#endif

namespace braid::cpu {

#if defined(BRAID_STREAMING_STORES)

inline constexpr std::size_t kLineBytes = 64;
// Below this, the partial lines at both ends outweigh what whole ones save.
inline constexpr std::size_t kLeastStreamedBytes = 512;

inline void streaming_copy(std::byte* to, const std::byte* from, std::size_t bytes) {
  if (bytes < kLeastStreamedBytes) {
    std::memcpy(to, from, bytes);
    return;
  }
  const std::size_t head = (0 - reinterpret_cast<std::uintptr_t>(to)) % kLineBytes;
  std::memcpy(to, from, head);
  std::size_t at = head;
  for (; at + kLineBytes <= bytes; at += kLineBytes) {
    const auto* source = reinterpret_cast<const __m128i*>(from + at);
    auto* line = reinterpret_cast<__m128i*>(to + at);
    const __m128i a = _mm_loadu_si128(source);
    const __m128i b = _mm_loadu_si128(source + 1);
    const __m128i c = _mm_loadu_si128(source + 2);
    const __m128i d = _mm_loadu_si128(source + 3);
    _mm_stream_si128(line, a);
    _mm_stream_si128(line + 1, b);
    _mm_stream_si128(line + 2, c);
    _mm_stream_si128(line + 3, d);
  }
  std::memcpy(to + at, from + at, bytes - at);
}
inline void finish_streaming() { _mm_sfence(); }

#else

inline void streaming_copy(std::byte* to, const std::byte* from, std::size_t bytes) {
  std::memcpy(to, from, bytes);
}
inline void finish_streaming() {}

#endif

}  // namespace braid::cpu
