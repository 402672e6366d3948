// The link to a rank whose memory can't be loaded and stored: puts, then one signal.
//
// A transport writes into the destination's symmetric block. It promises that the destination sees
// a signal only after every put of the same (destination, operation); networks reorder, so an
// implementation counts. Calls are thread-safe. The caller calls signal once for each
// (destination, operation), after all its workers' puts of it have returned, with a happens-before
// from each of them.
#pragma once

#include <cstddef>
#include <cstdint>

namespace braid {

struct PutRequest {
  int destination = 0;              // rank
  std::uint64_t operation = 0;      // names the operation and round; shared with its signal
  std::uint64_t remote_offset = 0;  // bytes into the destination's symmetric block
  const std::byte* data = nullptr;  // may be reused when put returns
  std::uint64_t bytes = 0;
};

struct SignalRequest {
  int destination = 0;
  std::uint64_t operation = 0;
  std::uint64_t flag_offset = 0;  // of an 8-byte aligned word; stored with release
  std::uint64_t value = 0;
};

class Transport {
 public:
  virtual ~Transport() = default;
  // "shm", "ucx", ...
  virtual const char* name() const noexcept = 0;
  // Throws braid::Error when the link is down.
  virtual void put(const PutRequest& request) = 0;
  virtual void signal(const SignalRequest& request) = 0;
};

}  // namespace braid
