#include "runtime/thread_group.hpp"

#include <exception>
#include <utility>

#include "base/check.hpp"
#include "runtime/blocks.hpp"
#include "runtime/thread_hub.hpp"

namespace braid::detail {

std::vector<std::shared_ptr<ThreadGroup>> ThreadGroup::make(const Topology& topology,
                                                            std::int64_t timeout_ms) {
  const auto hub = std::make_shared<ThreadHub>(topology.num_ranks, timeout_ms);
  std::vector<std::shared_ptr<ThreadGroup>> groups;
  for (int rank = 0; rank < topology.num_ranks; ++rank) {
    groups.push_back(std::make_shared<ThreadGroup>(rank, topology, timeout_ms, hub));
  }
  return groups;
}

ThreadGroup::ThreadGroup(int rank, const Topology& topology, std::int64_t timeout_ms,
                         std::shared_ptr<ThreadHub> hub)
    : GroupBackend(rank, topology, timeout_ms), hub_(std::move(hub)) {}

ThreadGroup::~ThreadGroup() { hub_->leave(rank()); }

std::shared_ptr<const std::vector<Contribution>> ThreadGroup::meet(Contribution mine,
                                                                   const std::string& what) {
  check();
  try {
    return hub_->meet(rank(), std::move(mine), what);
  } catch (const Error& error) {
    if (error.code() != ErrorCode::kRefused) fail(std::current_exception());
    throw;
  }
}

std::vector<std::string> ThreadGroup::all_gather(const std::string& mine, const std::string& what) {
  const auto everyone = meet({mine, nullptr}, what);
  std::vector<std::string> texts;
  for (const Contribution& each : *everyone) texts.push_back(each.text);
  return texts;
}

SymmetricMemory ThreadGroup::allocate(std::size_t bytes) {
  require_same_bytes(all_gather(std::to_string(bytes), "allocate"));
  Contribution mine;
  try {
    mine.object = cpu::MappedBlock::anonymous(bytes);
  } catch (const Error& error) {
    mine.text = error.what();  // told, so that the others need not wait for the block
  }
  const auto everyone = meet(std::move(mine), "allocate");
  std::vector<std::string> trouble;
  Blocks blocks;
  for (const Contribution& each : *everyone) {
    trouble.push_back(each.text);
    blocks.push_back(std::static_pointer_cast<cpu::MappedBlock>(each.object));
  }
  require_no_trouble(trouble);
  return make_symmetric_memory(rank(), topology(), std::move(blocks), bytes);
}

std::vector<int> ThreadGroup::dead_peers() noexcept {
  try {
    return hub_->gone();
  } catch (...) {
    return {};  // no memory for the list
  }
}

}  // namespace braid::detail
