#include "runtime/channel.hpp"

#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/check.hpp"

namespace braid::detail {
namespace {

struct Header {
  FrameType type;
  std::uint32_t num_descriptors;
  std::uint64_t call;
  std::uint64_t text_bytes;
};

bool known(FrameType type) { return type >= FrameType::kHello && type <= FrameType::kFailure; }

constexpr std::size_t kMaxDescriptors = 16;  // of one recvmsg; frames carry one each

}  // namespace

SendResult Channel::send(const Outgoing& frame, const Deadline& deadline) {
  const Header header{frame.type, frame.descriptor >= 0 ? 1U : 0U, frame.call, frame.text.size()};
  std::string bytes(reinterpret_cast<const char*>(&header), sizeof(header));
  bytes += frame.text;
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  for (std::size_t sent = 0; sent < bytes.size();) {
    iovec part{bytes.data() + sent, bytes.size() - sent};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    if (sent == 0 && frame.descriptor >= 0) {
      message.msg_control = control;
      message.msg_controllen = sizeof(control);
      cmsghdr* const attached = CMSG_FIRSTHDR(&message);
      attached->cmsg_level = SOL_SOCKET;
      attached->cmsg_type = SCM_RIGHTS;
      attached->cmsg_len = CMSG_LEN(sizeof(int));
      std::memcpy(CMSG_DATA(attached), &frame.descriptor, sizeof(frame.descriptor));
    }
    const ssize_t count = sendmsg(socket_.get(), &message, MSG_NOSIGNAL);
    if (count >= 0) {
      sent += static_cast<std::size_t>(count);
    } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
      if (!poll_one(socket_.get(), POLLOUT, deadline)) return SendResult::kTimedOut;
    } else if (errno == ETOOMANYREFS) {
      fail(ErrorCode::kMissing, "too many file descriptors are being passed: raise RLIMIT_NOFILE");
    } else if (errno != EINTR) {
      return SendResult::kEnded;
    }
  }
  return SendResult::kSent;
}

bool Channel::receive() {
  if (!valid()) return false;
  while (!ended_ && read_some()) {
  }
  return !ended_;
}

// True when there may be more.
bool Channel::read_some() {
  char buffer[1 << 14];
  alignas(cmsghdr) char control[CMSG_SPACE(kMaxDescriptors * sizeof(int))];
  iovec part{buffer, sizeof(buffer)};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof(control);
  const ssize_t count = recvmsg(socket_.get(), &message, MSG_CMSG_CLOEXEC);
  if (count < 0 && errno == EINTR) return true;
  if (count < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return false;
  if (count <= 0) {
    ended_ = true;
    return false;
  }
  for (cmsghdr* attached = CMSG_FIRSTHDR(&message); attached != nullptr;
       attached = CMSG_NXTHDR(&message, attached)) {
    if (attached->cmsg_level != SOL_SOCKET || attached->cmsg_type != SCM_RIGHTS) continue;
    const std::size_t num = (attached->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (std::size_t i = 0; i < num; ++i) {
      int fd = -1;
      std::memcpy(&fd, CMSG_DATA(attached) + i * sizeof(int), sizeof(fd));
      descriptors_.emplace_back(fd);
    }
  }
  input_.append(buffer, static_cast<std::size_t>(count));
  // Truncated: this process had no room for a descriptor, and the frame can't be what it says.
  if ((message.msg_flags & MSG_CTRUNC) != 0 || !parse()) ended_ = true;
  return !ended_;
}

// Frames from the input. False for what is none.
bool Channel::parse() {
  std::size_t at = 0;
  while (input_.size() - at >= sizeof(Header)) {
    Header header{};
    std::memcpy(&header, input_.data() + at, sizeof(header));
    if (!known(header.type) || header.text_bytes > max_text_bytes_ || header.num_descriptors > 1) {
      return false;
    }
    if (input_.size() - at - sizeof(header) < header.text_bytes) break;
    Frame frame;
    frame.type = header.type;
    frame.call = header.call;
    frame.text = input_.substr(at + sizeof(header), header.text_bytes);
    if (header.num_descriptors == 1) {
      if (descriptors_.empty()) return false;
      frame.descriptor = std::move(descriptors_.front());
      descriptors_.pop_front();
    }
    frames_.push_back(std::move(frame));
    at += sizeof(header) + header.text_bytes;
  }
  input_.erase(0, at);
  // What can't be the beginning of a frame need not be waited for.
  FrameType type{};
  if (input_.size() < sizeof(type)) return true;
  std::memcpy(&type, input_.data(), sizeof(type));
  return known(type);
}

std::optional<Frame> Channel::take() {
  if (frames_.empty()) return std::nullopt;
  std::optional<Frame> frame(std::move(frames_.front()));
  frames_.pop_front();
  return frame;
}

bool Channel::holds(FrameType type) const {
  return std::any_of(frames_.begin(), frames_.end(),
                     [&](const Frame& frame) { return frame.type == type; });
}

void Channel::close() noexcept {
  if (!socket_.valid()) return;
  shutdown(socket_.get(), SHUT_WR);
  char rest[4096];
  // Bounded: who goes on sending does not keep us.
  for (int i = 0; i < 256 && recv(socket_.get(), rest, sizeof(rest), MSG_DONTWAIT) > 0; ++i) {
  }
  socket_.reset();
}

}  // namespace braid::detail
