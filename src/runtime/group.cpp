#include "braid/group.hpp"

#include <utility>

#include "base/check.hpp"
#include "base/env.hpp"
#include "runtime/devices.hpp"
#include "runtime/group_backend.hpp"
#include "runtime/process_group.hpp"
#include "runtime/thread_group.hpp"

namespace braid {
namespace {

std::int64_t timeout_of(const GroupOptions& options, const Environment& env) {
  constexpr std::int64_t kMostMs = 1'000'000'000'000;  // some 30 years, and no overflow as ns
  const std::int64_t chosen = options.timeout_ms == 0 ? env.timeout_ms : options.timeout_ms;
  require(chosen > 0 && chosen <= kMostMs,
          "timeout is {} ms, but must be 1 to {}, or 0 for the default", chosen, kMostMs);
  return chosen;
}

}  // namespace

Group::Group(std::shared_ptr<detail::GroupBackend> backend) : backend_(std::move(backend)) {
  require(backend_ != nullptr, "a group needs a backend");
}

std::vector<Group> Group::threads(const Topology& topology, const GroupOptions& options) {
  validate(topology);
  const std::int64_t timeout_ms = timeout_of(options, read_environment());
  std::vector<Group> groups;
  for (auto& backend :
       detail::ThreadGroup::make(topology, timeout_ms, detail::open_devices(topology, options))) {
    groups.emplace_back(std::move(backend));
  }
  return groups;
}

Group Group::from_environment(const GroupOptions& options) {
  // Read afresh: a launcher that lives in the same process may have set them just now.
  const Environment env = read_environment();
  require(env.rank.has_value(), "environment variable RANK is not set, but must be this rank");
  require(env.world_size.has_value(),
          "environment variable WORLD_SIZE is not set, but must be the number of ranks");
  const Topology topology{*env.world_size, env.local_world_size.value_or(*env.world_size)};
  require(topology.num_ranks == 1 || env.master_port.has_value(),
          "environment variable MASTER_PORT is not set, but must be the port that rank 0 listens "
          "at");
  return connect(*env.rank, topology, env.master_addr, env.master_port.value_or(1), options);
}

Group Group::connect(int rank, const Topology& topology, const std::string& address, int port,
                     const GroupOptions& options) {
  validate(topology);
  require(rank >= 0 && rank < topology.num_ranks, "rank is {}, but must be 0 to {}", rank,
          topology.num_ranks - 1);
  require(port >= 1 && port <= 65535, "port is {}, but must be 1 to 65535", port);
  const detail::Meeting meeting{rank, topology, address, port,
                                timeout_of(options, read_environment())};
  return Group(std::make_shared<detail::ProcessGroup>(
      meeting, detail::open_device(topology, options, rank)));
}

int Group::rank() const { return backend_->rank(); }
const Topology& Group::topology() const { return backend_->topology(); }
std::int64_t Group::timeout_ms() const { return backend_->timeout_ms(); }
Backend Group::backend_kind() const { return backend_->device().kind(); }
int Group::device() const { return backend_->device().index(); }
Stream Group::make_stream() const { return backend_->device().make_stream(); }
void Group::barrier() { backend_->all_gather("", "barrier"); }
std::vector<std::string> Group::all_gather(const std::string& mine) {
  return backend_->all_gather(mine);
}
void Group::check() const {
  backend_->check();
  backend_->check_input();
}

}  // namespace braid
