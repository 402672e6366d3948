// The process environment, read once. Nothing else in the tree calls getenv.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace braid {

struct Environment {
  // Set by torchrun and by wrappers around mpirun; used by Group::from_environment.
  std::optional<int> rank;                // RANK
  std::optional<int> world_size;          // WORLD_SIZE
  std::optional<int> local_rank;          // LOCAL_RANK
  std::optional<int> local_world_size;    // LOCAL_WORLD_SIZE: ranks per node
  std::string master_addr = "127.0.0.1";  // MASTER_ADDR
  std::optional<int> master_port;         // MASTER_PORT

  std::int64_t timeout_ms = 30000;  // BRAID_TIMEOUT_MS: how long a wait for a peer may take
  std::string log_level = "warn";   // BRAID_LOG: trace, debug, info, warn, error, off
  // BRAID_NCCL_LIBRARY: libnccl's file, for ranks that are processes with a GPU each. Empty: the
  // one that the process has loaded already, else libnccl.so.2 as the loader finds it.
  std::string nccl_library;
};

// Throws kInvalidArgument for a variable whose value does not parse, naming it.
Environment read_environment();

// The process's environment as it was at the first call.
const Environment& environment();

// Sets a variable for a library that reads the environment itself, unless it is set already.
void set_environment_default(const char* name, const char* value);

}  // namespace braid
