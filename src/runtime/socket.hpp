// Descriptors, deadlines and sockets: non-blocking, close-on-exec, EINTR handled.
#pragma once

#include <poll.h>

#include <chrono>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace braid::detail {

// Owns a file descriptor.
class Descriptor {
 public:
  Descriptor() = default;
  explicit Descriptor(int fd) : fd_(fd) {}
  Descriptor(Descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~Descriptor() { reset(); }

  int get() const { return fd_; }
  bool valid() const { return fd_ >= 0; }
  void reset() noexcept;

 private:
  int fd_ = -1;
};

class Deadline {
 public:
  static Deadline after_ms(std::int64_t ms);
  bool passed() const { return Clock::now() >= at_; }
  // For poll(): rounded up, so that a poll never ends just before the deadline and spins.
  int left_ms() const;
  friend Deadline earlier(const Deadline& a, const Deadline& b) { return a.at_ < b.at_ ? a : b; }

 private:
  using Clock = std::chrono::steady_clock;
  explicit Deadline(Clock::time_point at) : at_(at) {}
  Clock::time_point at_;
};

// poll() that goes on after a signal. False when the deadline passed with nothing to report.
bool poll_until(std::vector<pollfd>& polls, const Deadline& deadline);
bool poll_one(int fd, short events, const Deadline& deadline);

void sleep_ms(int ms);

// "127.0.0.1:29500"
std::string place_of(const std::string& address, int port);

// A listening socket; SO_REUSEADDR, so that a group may follow another on the same port at once.
Descriptor listen_tcp(const std::string& address, int port, const Deadline& deadline);
// One try, for at most the deadline. On failure an empty descriptor, and why.
Descriptor connect_tcp(const std::string& address, int port, const Deadline& deadline,
                       std::string& why_not);

// Sockets in the abstract namespace: a name that no file system knows and that ends with its
// socket.
Descriptor listen_local(const std::string& name, int backlog);
Descriptor connect_local(const std::string& name);

// A connection that waits at the listener, or an empty descriptor.
Descriptor accept_waiting(const Descriptor& listener);

}  // namespace braid::detail
