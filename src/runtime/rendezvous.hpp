// How the processes of a group find each other: rank 0 listens, the others come and say who they
// are. The result is a star of channels with rank 0 in its center.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "braid/error.hpp"
#include "braid/topology.hpp"
#include "runtime/channel.hpp"

namespace braid::detail {

// Raised when a frame or its meaning changes: processes of different builds refuse each other.
inline constexpr int kProtocolVersion = 1;
// The longest text of a frame between ranks that know each other.
inline constexpr std::size_t kMaxTextBytes = std::size_t{1} << 30;

struct Meeting {
  int rank = 0;
  Topology topology;
  std::string address;
  int port = 0;
  std::int64_t timeout_ms = 0;
};

// What a rank says first.
struct Hello {
  int version = kProtocolVersion;
  int rank = 0;
  Topology topology;
  std::string secret;  // of the group; empty where the ranks meet for the first time
};
std::string to_text(const Hello& hello);
// False for what is no hello.
bool from_text(const std::string& text, Hello& hello);

// A failure as a kFailure frame's text, and back.
std::string failure_text(ErrorCode code, const std::string& sentence);
[[noreturn]] void throw_failure(const std::string& text);

// On rank 0: one channel a rank (the first is empty). Connections that don't say a hello in time
// are dropped and harm nobody. A rank that does not come, ends, comes twice or was started for
// another group is named in what is thrown here, and told to the others.
std::vector<Channel> admit_all(const Meeting& meeting, const Deadline& deadline);

// On the others: the channel to rank 0. Tries until the deadline.
Channel join(const Meeting& meeting, const Deadline& deadline);

}  // namespace braid::detail
