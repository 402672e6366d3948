#include "backend/cpu/rank_context.hpp"

#include <algorithm>
#include <chrono>
#include <thread>
#include <utility>

#include "base/check.hpp"

namespace braid::cpu {
namespace {

using Clock = std::chrono::steady_clock;

// Looks before a waiter sleeps: first at full speed, for flags that are about to be raised, then
// giving the core away each time.
constexpr int kBusyLooks = 32;
constexpr int kYieldLooks = 400;
constexpr std::chrono::microseconds kSleep{50};
constexpr int kLooksToEnded = 1024;  // about 0.1 s of sleeps: asking is a system call

template <class T>
T load_acquire(const T* flag) {
  return std::atomic_ref<T>(*const_cast<T*>(flag)).load(std::memory_order_acquire);
}

}  // namespace

RankContext::RankContext(int rank, const layout::ControlMap& control, SymmetricMemory memory,
                         std::int64_t timeout_ms, std::function<std::vector<int>()> dead_peers)
    : rank_(rank),
      control_(control),
      memory_(std::move(memory)),
      timeout_ms_(timeout_ms),
      dead_peers_(std::move(dead_peers)) {
  BRAID_CHECK(memory_.local == memory_.peers[static_cast<std::size_t>(rank)]);
}

machine::WaitResult RankContext::wait(const Word* flag, std::uint32_t epoch,
                                      const machine::WaitTag& tag) {
  return wait_for([flag] { return load_acquire(flag); }, epoch, tag);
}

machine::WaitResult RankContext::wait_count(const std::int32_t* count, std::int32_t expected,
                                            const machine::WaitTag& tag) {
  return wait_for([count] { return machine::signal_word(load_acquire(count)); },
                  static_cast<std::uint32_t>(expected), tag);
}

template <class Look>
machine::WaitResult RankContext::wait_for(Look&& look_at, std::uint32_t epoch,
                                          const machine::WaitTag& tag) {
  const auto deadline = Clock::now() + std::chrono::milliseconds(timeout_ms_);
  Word seen = 0;
  bool ended = false;
  for (int look = 0;; ++look) {
    seen = look_at();
    if (machine::is_reached(seen, epoch, tag)) return {true, seen};
    if (ended) break;  // this was one look more, since the peer may have answered before it ended
    if (look < kBusyLooks) continue;
    if (look < kYieldLooks) {
      std::this_thread::yield();
    } else {
      std::this_thread::sleep_for(kSleep);
    }
    if (look % 16 != 0) continue;
    if (failed() || heard_of_failure()) return {false, seen};
    if (Clock::now() >= deadline) break;
    ended = look % kLooksToEnded == 0 && !tag.is_of_block() && has_ended(tag.peer);
  }
  const Failure failure{tag, epoch, seen, rank_, ended};
  // Only the first: all ranks are to name the same culprit.
  if (fail(failure)) report(failure);
  return {false, seen};
}

Failure RankContext::failure() const {
  const std::lock_guard lock(mutex_);
  return failure_;
}

// Whether this was the first failure.
bool RankContext::fail(const Failure& failure) {
  const std::lock_guard lock(mutex_);
  if (failed()) return false;
  failure_ = failure;
  failed_.store(true, std::memory_order_release);
  return true;
}

void RankContext::fail_here() {
  Failure failure;
  failure.tag.peer = rank_;
  failure.reporter = rank_;
  if (fail(failure)) report(failure);
}

void RankContext::report_bad_choice(std::int64_t token, int choice, std::int64_t value) {
  const std::lock_guard lock(mutex_);
  if (bad_choice_.state == 0) bad_choice_ = {2, choice, token, value};
}

machine::BadChoiceRecord RankContext::bad_choice() const {
  const std::lock_guard lock(mutex_);
  return bad_choice_;
}

// Writes this rank's line of every peer's control region, so that nobody waits for a rank that
// gave up, and all name the same culprit.
void RankContext::report(const Failure& failure) {
  layout::AbortRecord record;
  record.culprit = failure.tag.peer;
  record.operation = static_cast<std::int32_t>(failure.tag.operation);
  record.round = failure.tag.round;
  record.epoch = failure.expected_epoch;
  record.peer_ended = failure.peer_ended ? 1 : 0;
  record.expert = failure.tag.expert;
  record.block = failure.tag.block;
  const auto raised = static_cast<Word>(rank_) + 1;
  const auto offset = static_cast<std::uint64_t>(control_.abort_record(rank_));
  for (int peer = 0; peer < control_.num_ranks; ++peer) {
    if (peer == rank_) continue;
    if (std::byte* block = this->peer(peer); block != nullptr) {
      auto* line = reinterpret_cast<layout::AbortRecord*>(block + offset);
      const std::atomic_ref<Word> flag(line->raised);
      if (flag.load(std::memory_order_relaxed) != 0) continue;
      line->culprit = record.culprit;
      line->operation = record.operation;
      line->round = record.round;
      line->epoch = record.epoch;
      line->peer_ended = record.peer_ended;
      line->expert = record.expert;
      line->block = record.block;
      flag.store(raised, std::memory_order_release);
      continue;
    }
    // The record without its flag, then the flag. A link that is down leaves the peer its deadline.
    constexpr std::uint64_t kSkip = sizeof(Word);
    const std::uint64_t id = ~std::uint64_t{0};
    try {
      transport().put({peer, id, offset + kSkip,
                       reinterpret_cast<const std::byte*>(&record) + kSkip,
                       sizeof(record) - kSkip});
      transport().signal({peer, id, offset, raised});
    } catch (const Error&) {
      continue;
    }
  }
}

bool RankContext::has_ended(int peer) const {
  if (!dead_peers_) return false;
  const std::vector<int> dead = dead_peers_();
  return std::find(dead.begin(), dead.end(), peer) != dead.end();
}

bool RankContext::heard_of_failure() {
  for (int peer = 0; peer < control_.num_ranks; ++peer) {
    auto* line = reinterpret_cast<layout::AbortRecord*>(local() + control_.abort_record(peer));
    const std::atomic_ref<Word> flag(line->raised);
    if (flag.load(std::memory_order_acquire) == 0) continue;
    const machine::WaitTag tag{.operation = static_cast<machine::Operation>(line->operation),
                               .round = line->round,
                               .peer = line->culprit,
                               .expert = line->expert,
                               .block = line->block};
    fail({tag, line->epoch, 0, peer, line->peer_ended != 0});
    return true;
  }
  return false;
}

std::unique_ptr<WorkerMemory> RankContext::borrow() {
  const std::lock_guard lock(mutex_);
  if (idle_.empty()) return std::make_unique<WorkerMemory>();
  auto memory = std::move(idle_.back());
  idle_.pop_back();
  return memory;
}

void RankContext::give_back(std::unique_ptr<WorkerMemory> memory) {
  const std::lock_guard lock(mutex_);
  idle_.push_back(std::move(memory));
}

}  // namespace braid::cpu
