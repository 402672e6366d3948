// The transport between simulated nodes of one host: blocks that are mapped here, reached only
// through put and signal, as a network would.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "transport/transport.hpp"

namespace braid {

// What went to one destination so far.
struct LinkStats {
  std::uint64_t puts = 0;
  std::uint64_t put_bytes = 0;
  std::uint64_t signals = 0;
  friend bool operator==(const LinkStats&, const LinkStats&) = default;
};

class ShmTransport final : public Transport {
 public:
  // blocks: by rank, null for the ranks that this transport does not reach. bytes: of each block.
  // mapping: keeps the blocks alive.
  ShmTransport(std::vector<std::byte*> blocks, std::size_t bytes, std::shared_ptr<void> mapping);

  const char* name() const noexcept override { return "shm"; }
  // A put is complete when it returns, so that order needs no counting here: the caller's
  // happens-before from every put to the signal, and the flag's release, carry it to the reader.
  void put(const PutRequest& request) override;
  void signal(const SignalRequest& request) override;

  // By rank.
  std::vector<LinkStats> stats() const;

 private:
  struct alignas(64) Counters {
    std::atomic<std::uint64_t> puts{0};
    std::atomic<std::uint64_t> put_bytes{0};
    std::atomic<std::uint64_t> signals{0};
  };

  std::byte* at(int destination, std::uint64_t offset, std::uint64_t bytes) const;

  std::vector<std::byte*> blocks_;
  std::size_t bytes_;
  std::shared_ptr<void> mapping_;
  std::vector<Counters> counters_;
};

}  // namespace braid
