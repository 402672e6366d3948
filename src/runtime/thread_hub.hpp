// Where the threads of a group meet: each brings a contribution, all leave with everyone's.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "braid/error.hpp"

namespace braid::detail {

struct Contribution {
  std::string text;
  std::shared_ptr<void> object;
};

class ThreadHub {
 public:
  ThreadHub(int num_ranks, std::int64_t timeout_ms);

  using Everyone = std::shared_ptr<const std::vector<Contribution>>;

  // Blocks until every rank came. A rank that does not come in time, or left, ends the call of
  // all, and every call after it, with a sentence that names it.
  Everyone meet(int rank, Contribution contribution, const std::string& what);

  std::int64_t timeout_ms() const { return timeout_ms_; }
  void leave(int rank) noexcept;
  std::vector<int> gone() const;

 private:
  // All: with mutex_ held.
  std::vector<int> absent() const;
  [[noreturn]] void end(ErrorCode code, std::string sentence);
  void throw_if_ended() const;
  void end_if_someone_left(const std::string& what);

  const std::int64_t timeout_ms_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::uint64_t meeting_ = 0;
  std::size_t num_present_ = 0;
  std::vector<std::optional<Contribution>> present_;  // of the meeting under way
  Everyone everyone_;  // of the last meeting; the next can't end before all have taken it
  std::vector<bool> gone_;
  ErrorCode code_ = ErrorCode::kInternal;
  std::string sentence_;  // what ended the hub; "" while it lives
};

}  // namespace braid::detail
