#include "runtime/socket.hpp"

#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>
#include <thread>

#include "base/check.hpp"

namespace braid::detail {
namespace {

constexpr int kTypeFlags = SOCK_NONBLOCK | SOCK_CLOEXEC;

using AddressList = std::unique_ptr<addrinfo, decltype(&freeaddrinfo)>;

AddressList resolve(const std::string& address, int port) {
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_NUMERICSERV;
  addrinfo* found = nullptr;
  const int error = getaddrinfo(address.c_str(), std::to_string(port).c_str(), &hints, &found);
  require(error == 0, "address '{}' is not known: {}", address, gai_strerror(error));
  return {found, &freeaddrinfo};
}

sockaddr_un local_address(const std::string& name, socklen_t& length) {
  sockaddr_un address{};
  BRAID_CHECK(name.size() + 1 <= sizeof(address.sun_path));
  address.sun_family = AF_UNIX;
  // A leading zero byte: the abstract namespace.
  std::memcpy(address.sun_path + 1, name.data(), name.size());
  length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name.size());
  return address;
}

void set_option(int fd, int level, int option) {
  const int on = 1;
  setsockopt(fd, level, option, &on, sizeof(on));
}

// A connect() to a port of this host that nobody listens at may meet itself, when the system picks
// that very port as its source. It would hold the port against rank 0.
bool connected_to_itself(int fd) {
  sockaddr_storage here{};
  sockaddr_storage there{};
  socklen_t here_bytes = sizeof(here);
  socklen_t there_bytes = sizeof(there);
  return getsockname(fd, reinterpret_cast<sockaddr*>(&here), &here_bytes) == 0 &&
         getpeername(fd, reinterpret_cast<sockaddr*>(&there), &there_bytes) == 0 &&
         here_bytes == there_bytes && std::memcmp(&here, &there, here_bytes) == 0;
}

// 0, or the error of one attempt.
int try_connect(int fd, const addrinfo& target, const Deadline& deadline) {
  if (connect(fd, target.ai_addr, target.ai_addrlen) == 0) return 0;
  if (errno != EINPROGRESS && errno != EINTR) return errno;
  if (!poll_one(fd, POLLOUT, deadline)) return ETIMEDOUT;
  int error = 0;
  socklen_t bytes = sizeof(error);
  if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &bytes) != 0) return errno;
  return error;
}

// 0, or the error of one attempt.
int try_listen(int fd, const addrinfo& target) {
  set_option(fd, SOL_SOCKET, SO_REUSEADDR);
  if (bind(fd, target.ai_addr, target.ai_addrlen) != 0) return errno;
  return listen(fd, SOMAXCONN) == 0 ? 0 : errno;
}

}  // namespace

void Descriptor::reset() noexcept {
  if (fd_ >= 0) close(std::exchange(fd_, -1));
}

Deadline Deadline::after_ms(std::int64_t ms) {
  // A century: what is longer would overflow the clock.
  return Deadline(Clock::now() + std::chrono::milliseconds(std::min(ms, std::int64_t{1} << 41)));
}

int Deadline::left_ms() const {
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(at_ - Clock::now()).count();
  return static_cast<int>(std::clamp<std::int64_t>(left, 0, 1 << 30));
}

bool poll_until(std::vector<pollfd>& polls, const Deadline& deadline) {
  for (;;) {
    const int count = poll(polls.data(), polls.size(), deadline.left_ms());
    if (count > 0) return true;
    if (count == 0 && deadline.passed()) return false;
    if (count < 0 && errno != EINTR && errno != EAGAIN) {
      fail(ErrorCode::kInternal, "poll failed: {}", std::strerror(errno));
    }
  }
}

bool poll_one(int fd, short events, const Deadline& deadline) {
  std::vector<pollfd> polls{{fd, events, 0}};
  return poll_until(polls, deadline);
}

void sleep_ms(int ms) { std::this_thread::sleep_for(std::chrono::milliseconds(ms)); }

std::string place_of(const std::string& address, int port) {
  return fmt::format("{}:{}", address, port);
}

Descriptor listen_tcp(const std::string& address, int port, const Deadline& deadline) {
  const AddressList targets = resolve(address, port);
  // A port that was free a moment ago may be taken for an instant by an outgoing connection.
  const Deadline patience = earlier(deadline, Deadline::after_ms(500));
  for (;;) {
    int error = 0;
    for (const addrinfo* target = targets.get(); target != nullptr; target = target->ai_next) {
      Descriptor socket_fd(
          socket(target->ai_family, target->ai_socktype | kTypeFlags, target->ai_protocol));
      error = socket_fd.valid() ? try_listen(socket_fd.get(), *target) : errno;
      if (error == 0) return socket_fd;
    }
    if (error != EADDRINUSE || patience.passed()) {
      fail(ErrorCode::kMissing,
           "rank 0 can't listen at {}: {}; MASTER_ADDR must be an address of this host and "
           "MASTER_PORT a free port",
           place_of(address, port), std::strerror(error));
    }
    sleep_ms(10);
  }
}

Descriptor connect_tcp(const std::string& address, int port, const Deadline& deadline,
                       std::string& why_not) {
  const AddressList targets = resolve(address, port);
  for (const addrinfo* target = targets.get(); target != nullptr; target = target->ai_next) {
    Descriptor socket_fd(
        socket(target->ai_family, target->ai_socktype | kTypeFlags, target->ai_protocol));
    const int error = socket_fd.valid() ? try_connect(socket_fd.get(), *target, deadline) : errno;
    if (error == 0 && !connected_to_itself(socket_fd.get())) {
      set_option(socket_fd.get(), IPPROTO_TCP, TCP_NODELAY);
      return socket_fd;
    }
    why_not = std::strerror(error == 0 ? ECONNREFUSED : error);
    if (error == 0) {  // met itself: give the port up at once, without a TIME_WAIT
      const linger at_once{1, 0};
      setsockopt(socket_fd.get(), SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
    }
  }
  return {};
}

Descriptor listen_local(const std::string& name, int backlog) {
  socklen_t length = 0;
  const sockaddr_un address = local_address(name, length);
  Descriptor fd(socket(AF_UNIX, SOCK_STREAM | kTypeFlags, 0));
  if (!fd.valid() || bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), length) != 0 ||
      listen(fd.get(), backlog) != 0) {
    fail(ErrorCode::kMissing, "rank 0 can't open a local socket: {}", std::strerror(errno));
  }
  return fd;
}

Descriptor connect_local(const std::string& name) {
  socklen_t length = 0;
  const sockaddr_un address = local_address(name, length);
  Descriptor fd(socket(AF_UNIX, SOCK_STREAM | kTypeFlags, 0));
  if (!fd.valid() || connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), length) != 0) {
    fail(ErrorCode::kMissing,
         "can't reach rank 0's local socket ({}); all ranks must be on one host, in one network "
         "namespace",
         std::strerror(errno));
  }
  return fd;
}

Descriptor accept_waiting(const Descriptor& listener) {
  for (;;) {
    Descriptor fd(accept4(listener.get(), nullptr, nullptr, kTypeFlags));
    if (fd.valid()) set_option(fd.get(), IPPROTO_TCP, TCP_NODELAY);  // refused by local sockets
    // A connection that broke while it waited is not the listener's trouble.
    if (fd.valid() || (errno != EINTR && errno != ECONNABORTED)) return fd;
  }
}

}  // namespace braid::detail
