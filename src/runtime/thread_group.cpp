#include "runtime/thread_group.hpp"

#include <exception>
#include <utility>

#include "base/check.hpp"
#include "runtime/blocks.hpp"
#include "runtime/thread_hub.hpp"

namespace braid::detail {

std::vector<std::shared_ptr<ThreadGroup>> ThreadGroup::make(const Topology& topology,
                                                            std::int64_t timeout_ms,
                                                            const Devices& devices) {
  const auto hub = std::make_shared<ThreadHub>(topology.num_ranks, timeout_ms);
  std::vector<std::shared_ptr<ThreadGroup>> groups;
  for (int rank = 0; rank < topology.num_ranks; ++rank) {
    groups.push_back(std::make_shared<ThreadGroup>(rank, topology, hub,
                                                   devices[static_cast<std::size_t>(rank)]));
  }
  return groups;
}

ThreadGroup::ThreadGroup(int rank, const Topology& topology, std::shared_ptr<ThreadHub> hub,
                         std::shared_ptr<DeviceBackend> device)
    : GroupBackend(rank, topology, hub->timeout_ms(), std::move(device)), hub_(std::move(hub)) {}

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
  return device().kind() == Backend::kCpu ? allocate_on_cpu(bytes) : allocate_on_devices(bytes);
}

std::vector<std::shared_ptr<void>> ThreadGroup::exchange(
    const std::function<std::shared_ptr<void>()>& make) {
  Contribution mine;
  try {
    mine.object = make();
  } catch (const Error& error) {
    mine.text = error.what();  // told, so that the others need not wait for the block
  }
  const auto everyone = meet(std::move(mine), "allocate");
  std::vector<std::string> trouble;
  std::vector<std::shared_ptr<void>> objects;
  for (const Contribution& each : *everyone) {
    trouble.push_back(each.text);
    objects.push_back(each.object);
  }
  require_no_trouble(trouble);
  return objects;
}

SymmetricMemory ThreadGroup::allocate_on_cpu(std::size_t bytes) {
  Blocks blocks;
  for (const auto& block : exchange([bytes] { return cpu::MappedBlock::anonymous(bytes); })) {
    blocks.push_back(std::static_pointer_cast<cpu::MappedBlock>(block));
  }
  return make_symmetric_memory(rank(), topology(), std::move(blocks), bytes);
}

// One process, and devices with peer access to each other: every pointer is good on all of them.
SymmetricMemory ThreadGroup::allocate_on_devices(std::size_t bytes) {
  auto blocks = std::make_shared<std::vector<std::shared_ptr<void>>>(
      exchange([this, bytes] { return device().allocate(bytes); }));
  SymmetricMemory memory;
  memory.bytes = bytes;
  for (const auto& block : *blocks) memory.peers.push_back(static_cast<std::byte*>(block.get()));
  memory.local = memory.peers[static_cast<std::size_t>(rank())];
  memory.mapping = std::move(blocks);
  return memory;
}

std::vector<int> ThreadGroup::dead_peers() noexcept {
  try {
    return hub_->gone();
  } catch (...) {
    return {};  // no memory for the list
  }
}

}  // namespace braid::detail
