// Starts the processes of a group on this host, and sees to it that none of them stays behind.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace braid {

struct LaunchOptions {
  enum class Output {
    kPassThrough,  // the children write where this process writes
    kCapture,      // into ProcessResult
  };
  Output output = Output::kPassThrough;
  // Once one process has failed, how long the others may take to find out by themselves before
  // they are killed: the group's timeout and some more.
  std::int64_t after_failure_ms = 35000;
  // Everything must have ended by then, or is killed. 0: no limit.
  std::int64_t limit_ms = 0;
  // Set in every child's environment, over what is there.
  std::vector<std::pair<std::string, std::string>> environment;
};

struct ProcessResult {
  int exit_code = -1;   // -1 when it was killed by a signal
  int signal = 0;       // 0 when it exited
  bool killed = false;  // by the launcher, since its time was up
  std::string output;   // stdout, where captured
  std::string error;    // stderr, where captured
  bool well() const { return exit_code == 0; }
};

// Runs argv (argv[0] is the program's path) once for each rank, with RANK, WORLD_SIZE, LOCAL_RANK,
// LOCAL_WORLD_SIZE, MASTER_ADDR=127.0.0.1 and MASTER_PORT (a port that is free now) in its
// environment. Returns when all have ended; by rank. The children die with the calling thread,
// also when that is killed. Throws braid::Error where a process can't be started; a program that
// can't be executed ends with exit code 127.
std::vector<ProcessResult> run_processes(int num_ranks, int ranks_per_node,
                                         const std::vector<std::string>& argv,
                                         const LaunchOptions& options = {});

// A port that nobody listens at now.
int free_port();

}  // namespace braid
