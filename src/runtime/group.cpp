#include "braid/group.hpp"

#include <utility>

#include "base/check.hpp"
#include "base/env.hpp"
#include "runtime/group_backend.hpp"
#include "runtime/thread_group.hpp"

namespace braid {
namespace {

std::int64_t timeout_of(const GroupOptions& options, const Environment& env) {
  require(options.timeout_ms >= 0, "timeout is {} ms, but must be positive, or 0 for the default",
          options.timeout_ms);
  return options.timeout_ms == 0 ? env.timeout_ms : options.timeout_ms;
}

}  // namespace

Group::Group(std::shared_ptr<detail::GroupBackend> backend) : backend_(std::move(backend)) {
  require(backend_ != nullptr, "a group needs a backend");
}

std::vector<Group> Group::threads(const Topology& topology, const GroupOptions& options) {
  validate(topology);
  std::vector<Group> groups;
  for (auto& backend :
       detail::ThreadGroup::make(topology, timeout_of(options, read_environment()))) {
    groups.emplace_back(std::move(backend));
  }
  return groups;
}

int Group::rank() const { return backend_->rank(); }
const Topology& Group::topology() const { return backend_->topology(); }
std::int64_t Group::timeout_ms() const { return backend_->timeout_ms(); }
void Group::barrier() { backend_->all_gather("", "barrier"); }
std::vector<std::string> Group::all_gather(const std::string& mine) {
  return backend_->all_gather(mine);
}
void Group::check() const { backend_->check(); }

}  // namespace braid
