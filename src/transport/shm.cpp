#include "transport/shm.hpp"

#include <cstring>
#include <utility>

#include "base/check.hpp"

namespace braid {

ShmTransport::ShmTransport(std::vector<std::byte*> blocks, std::size_t bytes,
                           std::shared_ptr<void> mapping)
    : blocks_(std::move(blocks)),
      bytes_(bytes),
      mapping_(std::move(mapping)),
      counters_(blocks_.size()) {}

std::byte* ShmTransport::at(int destination, std::uint64_t offset, std::uint64_t bytes) const {
  const bool reached = destination >= 0 && destination < static_cast<int>(blocks_.size()) &&
                       blocks_[static_cast<std::size_t>(destination)] != nullptr;
  require(reached, "rank {} is not reached by the shm transport", destination);
  require(offset <= bytes_ && bytes <= bytes_ - offset,
          "{} bytes at offset {} of rank {} are outside its block of {} bytes", bytes, offset,
          destination, bytes_);
  return blocks_[static_cast<std::size_t>(destination)] + offset;
}

void ShmTransport::put(const PutRequest& request) {
  std::byte* target = at(request.destination, request.remote_offset, request.bytes);
  require(request.data != nullptr || request.bytes == 0, "a put of {} bytes has no data",
          request.bytes);
  if (request.bytes != 0) std::memcpy(target, request.data, request.bytes);
  Counters& counters = counters_[static_cast<std::size_t>(request.destination)];
  counters.puts.fetch_add(1, std::memory_order_relaxed);
  counters.put_bytes.fetch_add(request.bytes, std::memory_order_relaxed);
}

void ShmTransport::signal(const SignalRequest& request) {
  std::byte* target = at(request.destination, request.flag_offset, sizeof(std::uint64_t));
  require(request.flag_offset % sizeof(std::uint64_t) == 0, "flag offset {} is not a multiple of 8",
          request.flag_offset);
  // Counted first: who has seen the flag finds the signal in the statistics.
  counters_[static_cast<std::size_t>(request.destination)].signals.fetch_add(
      1, std::memory_order_relaxed);
  std::atomic_ref<std::uint64_t>(*reinterpret_cast<std::uint64_t*>(target))
      .store(request.value, std::memory_order_release);
}

std::vector<LinkStats> ShmTransport::stats() const {
  std::vector<LinkStats> stats;
  for (const Counters& counters : counters_) {
    stats.push_back({counters.puts.load(std::memory_order_relaxed),
                     counters.put_bytes.load(std::memory_order_relaxed),
                     counters.signals.load(std::memory_order_relaxed)});
  }
  return stats;
}

}  // namespace braid
