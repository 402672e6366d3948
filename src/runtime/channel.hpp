// Framed messages over a stream socket, each with at most one file descriptor.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <string_view>

#include "runtime/socket.hpp"

namespace braid::detail {

// The values are words that no other protocol starts with: the first bytes of a stray connection
// are not a frame.
enum class FrameType : std::uint32_t {
  kHello = 0x42724401,         // a rank says who it is
  kAccept = 0x42724402,        // rank 0 knows it now
  kRefuse = 0x42724403,        // rank 0 won't have it; the text says why
  kContribution = 0x42724404,  // a rank's part of a collective call
  kResult = 0x42724405,        // everyone's parts
  kDescriptor = 0x42724406,    // one rank's descriptor, after a result
  kImpatient = 0x42724407,     // this rank's time is up: who is missing?
  kFailure = 0x42724408,       // the group is ended: an error code and a sentence
};

// What to send; nothing in it is owned.
struct Outgoing {
  FrameType type = FrameType::kHello;
  std::uint64_t call = 0;  // which collective call it belongs to
  std::string_view text;
  int descriptor = -1;
};

// What was received.
struct Frame {
  FrameType type = FrameType::kHello;
  std::uint64_t call = 0;
  std::string text;
  Descriptor descriptor;
};

enum class SendResult { kSent, kEnded, kTimedOut };

class Channel {
 public:
  Channel() = default;
  explicit Channel(Descriptor socket) : socket_(std::move(socket)) {}
  Channel(Channel&&) = default;
  Channel& operator=(Channel&&) = default;
  ~Channel() { close(); }

  int fd() const { return socket_.get(); }
  bool valid() const { return socket_.valid(); }

  SendResult send(const Outgoing& frame, const Deadline& deadline);

  // Takes in what has arrived, without blocking. False when the other side ended, or sent what is
  // no frame; frames that came before are still there to take.
  bool receive();
  std::optional<Frame> take();
  // Looks at the frames that were received and not taken.
  bool holds(FrameType type) const;

  // What was sent still reaches the other side: unread input would turn the close into a reset.
  void close() noexcept;

  // A longer text is no frame. Small until the other side has said who it is.
  void set_max_text_bytes(std::size_t bytes) { max_text_bytes_ = bytes; }

 private:
  bool read_some();
  bool parse();

  Descriptor socket_;
  std::size_t max_text_bytes_ = 256;
  std::string input_;
  std::deque<Descriptor> descriptors_;
  std::deque<Frame> frames_;
  bool ended_ = false;
};

}  // namespace braid::detail
