#include "program.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <fstream>
#include <sstream>
#include <stdexcept>

extern char** environ;

namespace braid::test {
namespace {

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

std::array<int, 2> make_pipe() {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) throw std::runtime_error("pipe2 failed");
  return ends;
}

// Reads both until their writers are gone, neither of them blocking the other.
void read_all(int out, int err, Ended& ended) {
  std::array<pollfd, 2> sources{pollfd{out, POLLIN, 0}, pollfd{err, POLLIN, 0}};
  const std::array<std::string*, 2> texts{&ended.out, &ended.err};
  while (sources[0].fd >= 0 || sources[1].fd >= 0) {
    ::poll(sources.data(), sources.size(), -1);
    for (std::size_t i = 0; i < sources.size(); ++i) {
      if (sources[i].fd < 0 || sources[i].revents == 0) continue;
      std::array<char, 65536> piece{};
      const ssize_t got = ::read(sources[i].fd, piece.data(), piece.size());
      if (got <= 0) {
        sources[i].fd = -1;
      } else {
        texts[i]->append(piece.data(), static_cast<std::size_t>(got));
      }
    }
  }
}

}  // namespace

Program::Program(const Words& arguments) : started_(now()) {
  const auto out = make_pipe();
  const auto err = make_pipe();
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_adddup2(&actions, out[1], STDOUT_FILENO);
  posix_spawn_file_actions_adddup2(&actions, err[1], STDERR_FILENO);
  Words words = joined({BRAID_PROGRAM}, arguments);
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  const int failure = ::posix_spawn(&pid_, BRAID_PROGRAM, &actions, nullptr, argv.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  ::close(out[1]);
  ::close(err[1]);
  out_ = out[0];
  err_ = err[0];
  if (failure != 0) throw std::runtime_error("could not start " BRAID_PROGRAM);
}

Program::~Program() {
  if (pid_ > 0) {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
  if (out_ >= 0) ::close(out_);
  if (err_ >= 0) ::close(err_);
}

std::vector<pid_t> Program::children() const {
  const std::string task = std::to_string(pid_);
  std::ifstream file("/proc/" + task + "/task/" + task + "/children");
  std::vector<pid_t> pids;
  for (pid_t pid = 0; file >> pid;) pids.push_back(pid);
  return pids;
}

Ended Program::wait() {
  Ended ended;
  read_all(out_, err_, ended);
  int status = 0;
  ::waitpid(pid_, &status, 0);
  pid_ = -1;
  ended.status = WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
  ended.seconds = now() - started_;
  return ended;
}

Ended braid(const Words& arguments) { return Program(arguments).wait(); }

nlohmann::json report_of(const Words& arguments, int expected_status) {
  const Ended ended = braid(joined(arguments, {"--json", "-"}));
  EXPECT_EQ(ended.status, expected_status) << testing::PrintToString(arguments) << ended.err;
  nlohmann::json report = nlohmann::json::parse(ended.out, nullptr, false);
  EXPECT_TRUE(report.is_object()) << testing::PrintToString(arguments) << ended.out << ended.err;
  return report;
}

std::filesystem::path data(const std::string& name) {
  return std::filesystem::path(BRAID_TEST_DATA) / name;
}

Words run_of(const std::string& layer, const Words& more) {
  return joined({"run", "--layer", data(layer).string()}, more);
}

std::string variable_of(pid_t process, const std::string& name) {
  std::ifstream file("/proc/" + std::to_string(process) + "/environ", std::ios::binary);
  for (std::string entry; std::getline(file, entry, '\0');) {
    if (entry.starts_with(name + "=")) return entry.substr(name.size() + 1);
  }
  return "";
}

bool is_alive(pid_t process) {
  std::ifstream file("/proc/" + std::to_string(process) + "/stat");
  std::string text;
  if (!std::getline(file, text)) return false;
  const std::size_t name_end = text.rfind(')');
  return name_end != std::string::npos && text.substr(name_end + 2, 1) != "Z";
}

Words joined(Words first, const Words& second) {
  first.insert(first.end(), second.begin(), second.end());
  return first;
}

}  // namespace braid::test
