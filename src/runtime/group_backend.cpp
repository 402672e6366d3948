#include "runtime/group_backend.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <utility>

#include "backend/cpu/device.hpp"
#include "base/check.hpp"

namespace braid::detail {

GroupBackend::GroupBackend(int rank, const Topology& topology, std::int64_t timeout_ms,
                           std::shared_ptr<DeviceBackend> device)
    : rank_(rank),
      topology_(topology),
      timeout_ms_(timeout_ms),
      device_(device != nullptr ? std::move(device) : std::make_shared<cpu::CpuDevice>()) {}

void GroupBackend::fail(std::exception_ptr failure) {
  const std::lock_guard lock(mutex_);
  if (!failure_) failure_ = std::move(failure);
}

void GroupBackend::watch(std::weak_ptr<FailureSource> source) {
  const std::lock_guard lock(mutex_);
  std::erase_if(sources_, [](const auto& each) { return each.expired(); });
  sources_.push_back(std::move(source));
}

std::vector<std::shared_ptr<FailureSource>> GroupBackend::sources() const {
  std::vector<std::shared_ptr<FailureSource>> alive;
  const std::lock_guard lock(mutex_);
  for (const auto& source : sources_) {
    if (auto one = source.lock()) alive.push_back(std::move(one));
  }
  return alive;
}

void GroupBackend::check_input() const {
  for (const auto& source : sources()) source->throw_bad_input();
}

void GroupBackend::check() const {
  // Unlocked: a source that has failed reports it to this group.
  for (const auto& source : sources()) source->throw_failure();
  const std::lock_guard lock(mutex_);
  if (failure_) std::rethrow_exception(failure_);
}

std::string name_ranks(const std::vector<int>& ranks) {
  return fmt::format("rank{} {}", ranks.size() == 1 ? "" : "s", fmt::join(ranks, ", "));
}

std::string name_ended(const std::vector<int>& ranks) {
  if (ranks.empty()) return "";
  return fmt::format("{} {} ended", name_ranks(ranks), ranks.size() == 1 ? "has" : "have");
}

void require_same_bytes(const std::vector<std::string>& bytes_by_rank) {
  for (std::size_t rank = 1; rank < bytes_by_rank.size(); ++rank) {
    require(bytes_by_rank[rank] == bytes_by_rank[0],
            "rank {} allocates {} bytes of symmetric memory but rank 0 allocates {}; every rank "
            "must ask for the same",
            rank, bytes_by_rank[rank], bytes_by_rank[0]);
  }
}

void require_no_trouble(const std::vector<std::string>& trouble_by_rank) {
  for (std::size_t rank = 0; rank < trouble_by_rank.size(); ++rank) {
    if (trouble_by_rank[rank].empty()) continue;
    braid::fail(ErrorCode::kMissing, "rank {}: {}", rank, trouble_by_rank[rank]);
  }
}

}  // namespace braid::detail
