#include "runtime/rendezvous.hpp"

#include <algorithm>
#include <sstream>

#include "base/check.hpp"

namespace braid::detail {

std::string to_text(const Hello& hello) {
  // The version and the rank stay first in every version, so that a refusal can name both.
  return fmt::format("{} {} {} {} {}", hello.version, hello.rank, hello.topology.num_ranks,
                     hello.topology.ranks_per_node, hello.secret);
}

bool from_text(const std::string& text, Hello& hello) {
  std::istringstream words(text);
  if (!(words >> hello.version >> hello.rank)) return false;
  if (hello.version != kProtocolVersion) return true;
  if (!(words >> hello.topology.num_ranks >> hello.topology.ranks_per_node)) return false;
  words >> hello.secret;
  return true;
}

std::string failure_text(ErrorCode code, const std::string& sentence) {
  return fmt::format("{} {}", static_cast<int>(code), sentence);
}

void throw_failure(const std::string& text) {
  const auto space = text.find(' ');
  for (const ErrorCode code :
       {ErrorCode::kTimeout, ErrorCode::kInvalidArgument, ErrorCode::kMissing}) {
    if (text.substr(0, space) == std::to_string(static_cast<int>(code))) {
      throw Error(code, text.substr(space + 1));
    }
  }
  throw Error(ErrorCode::kPeerFailed, space == std::string::npos ? text : text.substr(space + 1));
}

Channel join(const Meeting& meeting, const Deadline& deadline) {
  const Hello hello{kProtocolVersion, meeting.rank, meeting.topology, ""};
  std::string why_not = "no answer";
  for (int pause_ms = 1; !deadline.passed(); pause_ms = std::min(2 * pause_ms, 50)) {
    Channel channel(connect_tcp(meeting.address, meeting.port, deadline, why_not));
    channel.set_max_text_bytes(kMaxTextBytes);
    if (channel.valid()) {
      const std::string text = to_text(hello);
      bool open = channel.send({FrameType::kHello, 0, text}, deadline) == SendResult::kSent;
      while (open && poll_one(channel.fd(), POLLIN, deadline)) {
        open = channel.receive();
        if (const auto answer = channel.take()) {
          if (answer->type == FrameType::kAccept) return channel;
          throw_failure(answer->text);
        }
      }
      // Ended before it knew us: the listener of a group that was just given up, perhaps. Again.
      why_not = open ? "it does not answer" : "it closed the connection";
    }
    sleep_ms(std::min(pause_ms, deadline.left_ms()));
  }
  fail(ErrorCode::kTimeout, "rank {} could not reach rank 0 at {} within {} ms: {}", meeting.rank,
       place_of(meeting.address, meeting.port), meeting.timeout_ms, why_not);
}

}  // namespace braid::detail
