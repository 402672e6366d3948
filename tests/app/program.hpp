// Starting the built `braid` and looking at what it says.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace braid::test {

using Words = std::vector<std::string>;

struct Ended {
  int status = -1;  // the exit status, or minus the signal that ended it
  std::string out;
  std::string err;
  double seconds = 0;
};

// A started braid; the destructor kills and waits for it.
class Program {
 public:
  explicit Program(const Words& arguments);
  ~Program();
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;

  pid_t pid() const { return pid_; }
  // Its child processes now.
  std::vector<pid_t> children() const;
  Ended wait();

 private:
  pid_t pid_ = -1;
  int out_ = -1;
  int err_ = -1;
  double started_ = 0;
};

Ended braid(const Words& arguments);

// The report of a command that was given "--json -"; fails the test where it is none.
nlohmann::json report_of(const Words& arguments, int expected_status = 0);

// "run --layer data/NAME" and what follows.
Words run_of(const std::string& layer, const Words& more = {});
std::filesystem::path data(const std::string& name);

// A process's environment variable; empty where it has none, or is gone.
std::string variable_of(pid_t process, const std::string& name);
bool is_alive(pid_t process);

Words joined(Words first, const Words& second);

}  // namespace braid::test
