#include "runtime/thread_hub.hpp"

#include <chrono>
#include <utility>

#include "base/check.hpp"
#include "runtime/group_backend.hpp"

namespace braid::detail {

ThreadHub::ThreadHub(int num_ranks, std::int64_t timeout_ms)
    : timeout_ms_(timeout_ms),
      present_(static_cast<std::size_t>(num_ranks)),
      gone_(static_cast<std::size_t>(num_ranks), false) {}

ThreadHub::Everyone ThreadHub::meet(int rank, Contribution contribution, const std::string& what) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::milliseconds(timeout_ms_);
  std::unique_lock lock(mutex_);
  throw_if_ended();
  auto& place = present_[static_cast<std::size_t>(rank)];
  if (place) {
    fail(ErrorCode::kRefused, "rank {} called {} while another call of it was under way", rank,
         what);
  }
  place = std::move(contribution);
  if (++num_present_ == present_.size()) {
    auto all = std::make_shared<std::vector<Contribution>>();
    for (auto& each : present_) {
      all->push_back(std::move(*each));
      each.reset();
    }
    everyone_ = all;
    num_present_ = 0;
    ++meeting_;
    changed_.notify_all();
    return all;
  }
  const auto mine = meeting_;
  for (;;) {
    if (meeting_ != mine) return everyone_;
    throw_if_ended();
    end_if_someone_left(what);
    if (changed_.wait_until(lock, deadline) == std::cv_status::timeout && meeting_ == mine &&
        sentence_.empty()) {
      end(ErrorCode::kTimeout, fmt::format("{} did not come to {} within {} ms",
                                           name_ranks(absent()), what, timeout_ms_));
    }
  }
}

void ThreadHub::end_if_someone_left(const std::string& what) {
  std::vector<int> left;
  for (const int rank : absent()) {
    if (gone_[static_cast<std::size_t>(rank)]) left.push_back(rank);
  }
  if (left.empty()) return;
  end(ErrorCode::kPeerFailed,
      fmt::format("{} left the group and can't come to {}", name_ranks(left), what));
}

void ThreadHub::end(ErrorCode code, std::string sentence) {
  code_ = code;
  sentence_ = std::move(sentence);
  changed_.notify_all();
  throw Error(code_, sentence_);
}

void ThreadHub::throw_if_ended() const {
  if (!sentence_.empty()) throw Error(code_, sentence_);
}

std::vector<int> ThreadHub::absent() const {
  std::vector<int> ranks;
  for (std::size_t rank = 0; rank < present_.size(); ++rank) {
    if (!present_[rank]) ranks.push_back(static_cast<int>(rank));
  }
  return ranks;
}

void ThreadHub::leave(int rank) noexcept {
  const std::lock_guard lock(mutex_);
  gone_[static_cast<std::size_t>(rank)] = true;
  changed_.notify_all();
}

std::vector<int> ThreadHub::gone() const {
  const std::lock_guard lock(mutex_);
  std::vector<int> ranks;
  for (std::size_t rank = 0; rank < gone_.size(); ++rank) {
    if (gone_[rank]) ranks.push_back(static_cast<int>(rank));
  }
  return ranks;
}

}  // namespace braid::detail
