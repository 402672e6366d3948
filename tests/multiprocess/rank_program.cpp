// One rank's process: rank_program SCENARIO. Prints what the test looks for, a failure's sentence
// on stderr; exits 1 after a failure.
#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <string>
#include <thread>

#include "base/env.hpp"
#include "braid/error.hpp"
#include "braid/group.hpp"
#include "runtime/group_backend.hpp"
#include "runtime/launch.hpp"
#include "runtime/rendezvous.hpp"

namespace braid {
namespace {

constexpr GroupOptions kPatient{.timeout_ms = 20000};

int rank() { return *read_environment().rank; }
int num_ranks() { return *read_environment().world_size; }
void pause_ms(int ms) { std::this_thread::sleep_for(std::chrono::milliseconds(ms)); }
[[noreturn]] void die() {
  raise(SIGKILL);
  std::abort();
}

// Every rank writes its mark into every block, through whatever reaches it, and checks its own.
void exchange_marks(Group& group) {
  const SymmetricMemory memory = group.backend().allocate(std::size_t{1} << 20);
  const auto mark = static_cast<std::byte>(group.rank() + 1);
  const auto at = static_cast<std::size_t>(group.rank()) * 4096;
  for (int peer = 0; peer < group.topology().num_ranks; ++peer) {
    std::byte* const block = memory.peers[static_cast<std::size_t>(peer)];
    if ((block != nullptr) != group.topology().same_node(group.rank(), peer)) std::exit(3);
    if (block != nullptr) {
      block[at] = mark;
    } else {
      memory.transport->put({peer, 0, at, &mark, 1});
    }
  }
  group.barrier();
  for (int peer = 0; peer < group.topology().num_ranks; ++peer) {
    if (memory.local[peer * 4096] != static_cast<std::byte>(peer + 1)) std::exit(4);
  }
}

void work() {
  Group group = Group::from_environment(kPatient);
  exchange_marks(group);
  for (int i = 0; i < 20; ++i) group.barrier();
  std::printf("rank %d of %d, node %d\n", group.rank(), group.topology().num_ranks,
              group.topology().node_of(group.rank()));
}

void never_arrives() {
  if (rank() != 1) Group::from_environment({.timeout_ms = 500});
}

void dies_in_barrier() {
  Group group = Group::from_environment(kPatient);
  exchange_marks(group);
  if (group.rank() == num_ranks() - 1) die();
  group.barrier();
  group.barrier();  // the first may just have been complete
}

void center_dies_in_barrier() {
  Group group = Group::from_environment(kPatient);
  group.barrier();
  if (group.rank() == 0) die();
  group.barrier();
}

void dies_in_set_up() {
  const Environment env = read_environment();
  if (rank() == 1) {
    const detail::Meeting meeting{
        1, {num_ranks(), num_ranks()}, env.master_addr, *env.master_port, 20000};
    const auto channel = detail::join(meeting, detail::Deadline::after_ms(20000));
    die();
  }
  if (rank() == 2) return;  // rank 0 goes on waiting for it
  Group::from_environment(kPatient);
}

void told_of_the_dead() {
  Group group = Group::from_environment(kPatient);
  group.barrier();
  if (group.rank() == 2) die();
  for (int i = 0; i < 2000 && group.backend().dead_peers().empty(); ++i) pause_ms(5);
  std::printf("%s\n", detail::name_ended(group.backend().dead_peers()).c_str());
  if (group.rank() == 0) pause_ms(300);  // its own end would show beside
}

void disagrees() {
  if (rank() == 1) setenv("WORLD_SIZE", "4", 1);
  if (rank() == 1) setenv("LOCAL_WORLD_SIZE", "4", 1);
  Group::from_environment(kPatient);
}

void again() {
  try {
    Group group = Group::from_environment(kPatient);
    if (rank() != 1) group.barrier();
  } catch (const Error& error) {
    std::printf("%s\n", error.what());
  }
  work();
}

void hangs() {
  std::printf("%d\n", getpid());
  std::fflush(stdout);
  for (;;) pause();
}

void fails_while_others_hang() {
  if (rank() == 1) std::exit(7);
  hangs();
}

void launches_what_hangs() { run_processes(3, 3, {"/proc/self/exe", "hangs"}); }

}  // namespace
}  // namespace braid

int main(int argc, char** argv) {
  using namespace braid;
  const std::map<std::string, std::function<void()>> scenarios{
      {"work", work},
      {"never_arrives", never_arrives},
      {"dies_in_barrier", dies_in_barrier},
      {"center_dies_in_barrier", center_dies_in_barrier},
      {"dies_in_set_up", dies_in_set_up},
      {"told_of_the_dead", told_of_the_dead},
      {"disagrees", disagrees},
      {"again", again},
      {"hangs", hangs},
      {"fails_while_others_hang", fails_while_others_hang},
      {"launches_what_hangs", launches_what_hangs}};
  const auto scenario = scenarios.find(argc == 2 ? argv[1] : "");
  if (scenario == scenarios.end()) return 2;
  try {
    scenario->second();
  } catch (const Error& error) {
    std::fprintf(stderr, "%s: %s\n", to_string(error.code()), error.what());
    return 1;
  }
  return 0;
}
