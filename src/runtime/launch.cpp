#include "runtime/launch.hpp"

#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <optional>

#include "base/check.hpp"
#include "braid/topology.hpp"
#include "runtime/socket.hpp"

namespace braid {
namespace {

using detail::Deadline;
using detail::Descriptor;

struct Pipe {
  Descriptor read;
  Descriptor write;
};

Pipe open_pipe() {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) {
    fail(ErrorCode::kMissing, "can't open a pipe: {}", std::strerror(errno));
  }
  fcntl(ends[0], F_SETFL, O_NONBLOCK);
  return {Descriptor(ends[0]), Descriptor(ends[1])};
}

// What is between fork and exec may not allocate: everything is made before.
struct Program {
  std::vector<std::string> argv;
  std::vector<std::string> environment;

  static std::vector<char*> pointers(std::vector<std::string>& texts) {
    std::vector<char*> result;
    for (std::string& text : texts) result.push_back(text.data());
    result.push_back(nullptr);
    return result;
  }
};

std::vector<std::string> environment_with(
    const std::vector<std::pair<std::string, std::string>>& settings) {
  std::vector<std::string> result;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string text = *entry;
    const std::string name = text.substr(0, text.find('='));
    const bool replaced = std::any_of(settings.begin(), settings.end(),
                                      [&](const auto& setting) { return setting.first == name; });
    if (!replaced) result.push_back(text);
  }
  for (const auto& [name, value] : settings) result.push_back(name + "=" + value);
  return result;
}

// One process of the group, killed and reaped at the latest by the destructor.
class Child {
 public:
  Child(Program program, LaunchOptions::Output output);
  ~Child();
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  bool running() const { return pid_ > 0; }
  // Takes in what it wrote, and its end when it came.
  void look();
  void kill_now();
  std::vector<Descriptor*> pipes() { return {&output_, &error_}; }
  const ProcessResult& result() const { return result_; }

 private:
  static void drain(Descriptor& pipe, std::string& text);

  pid_t pid_ = -1;
  Descriptor output_;
  Descriptor error_;
  ProcessResult result_;
};

Child::Child(Program program, LaunchOptions::Output output) {
  Pipe out;
  Pipe err;
  if (output == LaunchOptions::Output::kCapture) {
    out = open_pipe();
    err = open_pipe();
  }
  const std::vector<char*> argv = Program::pointers(program.argv);
  const std::vector<char*> environment = Program::pointers(program.environment);
  const pid_t parent = getpid();
  pid_ = fork();
  if (pid_ < 0) fail(ErrorCode::kMissing, "can't start a process: {}", std::strerror(errno));
  if (pid_ == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(127);  // it died before the line above
    if (out.write.valid() && dup2(out.write.get(), STDOUT_FILENO) < 0) _exit(127);
    if (err.write.valid() && dup2(err.write.get(), STDERR_FILENO) < 0) _exit(127);
    execve(argv[0], argv.data(), environment.data());
    const char sentence[] = "the program can't be executed\n";
    [[maybe_unused]] const ssize_t written = write(STDERR_FILENO, sentence, sizeof(sentence) - 1);
    _exit(127);
  }
  output_ = std::move(out.read);
  error_ = std::move(err.read);
}

Child::~Child() {
  if (!running()) return;
  kill_now();
  waitpid(pid_, nullptr, 0);
}

void Child::kill_now() {
  if (!running()) return;
  kill(pid_, SIGKILL);
  result_.killed = true;
}

void Child::look() {
  int status = 0;
  pid_t ended = 0;
  if (running()) {
    do {
      ended = waitpid(pid_, &status, WNOHANG);
    } while (ended < 0 && errno == EINTR);
  }
  drain(output_, result_.output);
  drain(error_, result_.error);
  if (!running() || ended == 0) return;
  const bool reaped = ended == pid_;  // else someone else did (SIGCHLD is ignored, say)
  pid_ = -1;
  if (reaped && WIFEXITED(status)) result_.exit_code = WEXITSTATUS(status);
  if (reaped && WIFSIGNALED(status)) result_.signal = WTERMSIG(status);
  // What it wrote is here. A child of its own that lives on may hold the pipes: not waited for.
  output_.reset();
  error_.reset();
}

void Child::drain(Descriptor& pipe, std::string& text) {
  char buffer[1 << 14];
  while (pipe.valid()) {
    const ssize_t count = read(pipe.get(), buffer, sizeof(buffer));
    if (count > 0) {
      text.append(buffer, static_cast<std::size_t>(count));
    } else if (count == 0) {
      pipe.reset();
    } else if (errno != EINTR) {
      return;
    }
  }
}

class Launch {
 public:
  Launch(std::size_t num_ranks, const LaunchOptions& options)
      : options_(options), children_(num_ranks) {}

  void start(std::size_t rank, Program program) {
    children_[rank].emplace(std::move(program), options_.output);
  }

  std::vector<ProcessResult> wait() {
    const Deadline limit =
        Deadline::after_ms(options_.limit_ms > 0 ? options_.limit_ms : std::int64_t{1} << 41);
    std::optional<Deadline> after_failure;
    while (look()) {
      if (!after_failure && failed()) after_failure = Deadline::after_ms(options_.after_failure_ms);
      if (limit.passed() || (after_failure && after_failure->passed())) {
        for (auto& child : children_) child->kill_now();
      }
      pause();
    }
    std::vector<ProcessResult> results;
    for (auto& child : children_) results.push_back(child->result());
    return results;
  }

 private:
  // True while one runs.
  bool look() {
    bool running = false;
    for (auto& child : children_) {
      child->look();
      running = child->running() || running;
    }
    return running;
  }
  bool failed() const {
    return std::any_of(children_.begin(), children_.end(), [](const auto& child) {
      return !child->running() && !child->result().well();
    });
  }
  // Until one wrote something, or a short while: the end of a process is asked for.
  void pause() {
    constexpr std::int64_t kLookMs = 5;
    std::vector<pollfd> polls;
    for (auto& child : children_) {
      for (Descriptor* pipe : child->pipes()) {
        if (pipe->valid()) polls.push_back({pipe->get(), POLLIN, 0});
      }
    }
    detail::poll_until(polls, Deadline::after_ms(kLookMs));
  }

  const LaunchOptions& options_;
  std::vector<std::optional<Child>> children_;
};

}  // namespace

int free_port() {
  const Descriptor fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t bytes = sizeof(address);
  auto* const any = reinterpret_cast<sockaddr*>(&address);
  if (!fd.valid() || bind(fd.get(), any, bytes) != 0 || getsockname(fd.get(), any, &bytes) != 0) {
    fail(ErrorCode::kMissing, "no free port on 127.0.0.1: {}", std::strerror(errno));
  }
  return ntohs(address.sin_port);
}

std::vector<ProcessResult> run_processes(int num_ranks, int ranks_per_node,
                                         const std::vector<std::string>& argv,
                                         const LaunchOptions& options) {
  validate({num_ranks, ranks_per_node});
  require(!argv.empty(), "there is no program to run");
  const std::string port = std::to_string(free_port());
  Launch launch(static_cast<std::size_t>(num_ranks), options);
  for (int rank = 0; rank < num_ranks; ++rank) {
    std::vector<std::pair<std::string, std::string>> settings{
        {"RANK", std::to_string(rank)},
        {"WORLD_SIZE", std::to_string(num_ranks)},
        {"LOCAL_RANK", std::to_string(rank % ranks_per_node)},
        {"LOCAL_WORLD_SIZE", std::to_string(ranks_per_node)},
        {"MASTER_ADDR", "127.0.0.1"},
        {"MASTER_PORT", port}};
    for (const auto& setting : options.environment) {
      std::erase_if(settings, [&](const auto& own) { return own.first == setting.first; });
      settings.push_back(setting);
    }
    launch.start(static_cast<std::size_t>(rank), {argv, environment_with(settings)});
  }
  return launch.wait();
}

}  // namespace braid
