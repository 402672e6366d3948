#include "cli/failure_pipe.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <sstream>
#include <string>

#include "base/check.hpp"

namespace braid::cli {
namespace {

// A write of at most PIPE_BUF (4096) bytes is not mixed with others.
constexpr std::size_t kMostBytes = 4000;

}  // namespace

FailurePipe::FailurePipe() {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_NONBLOCK) != 0) {
    fail(ErrorCode::kInternal, "can't open a pipe: {}", std::strerror(errno));
  }
  read_ = ends[0];
  write_ = ends[1];
  ::fcntl(read_, F_SETFD, FD_CLOEXEC);
}

FailurePipe::~FailurePipe() {
  ::close(read_);
  ::close(write_);
}

void FailurePipe::tell(int write_end, const app::Failure& failure) {
  std::string sentence = failure.sentence.substr(0, kMostBytes);
  std::replace(sentence.begin(), sentence.end(), '\n', ' ');
  const std::string line = fmt::format("{} {}\n", static_cast<int>(failure.code), sentence);
  // Nobody is left to be told if this fails.
  [[maybe_unused]] const ssize_t written = ::write(write_end, line.data(), line.size());
}

std::vector<app::Failure> FailurePipe::read() {
  std::string text;
  std::array<char, 4096> piece{};
  for (ssize_t got = 0; (got = ::read(read_, piece.data(), piece.size())) > 0;) {
    text.append(piece.data(), static_cast<std::size_t>(got));
  }
  std::vector<app::Failure> failures;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    const std::size_t space = line.find(' ');
    if (space == std::string::npos) continue;
    failures.push_back(
        {static_cast<ErrorCode>(std::stoi(line.substr(0, space))), line.substr(space + 1)});
  }
  return failures;
}

}  // namespace braid::cli
