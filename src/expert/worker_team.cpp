#include "expert/worker_team.hpp"

#include <system_error>
#include <utility>

namespace braid::expert {

WorkerTeam::WorkerTeam(int num_workers) {
  helpers_.reserve(num_workers > 1 ? static_cast<std::size_t>(num_workers - 1) : 0);
  for (int worker = 1; worker < num_workers; ++worker) {
    try {
      helpers_.emplace_back([this, worker] { help(worker); });
    } catch (const std::system_error&) {
      return;
    }
  }
}

WorkerTeam::~WorkerTeam() {
  {
    const std::lock_guard lock(mutex_);
    closing_ = true;
  }
  wake_.notify_all();
  for (std::thread& helper : helpers_) helper.join();
}

void WorkerTeam::for_each(std::int64_t count, const Task& task) {
  std::unique_lock lock(mutex_);
  task_ = &task;
  next_ = 0;
  count_ = count;
  if (count > 1) wake_.notify_all();
  work(lock, 0);
  idle_.wait(lock, [this] { return busy_ == 0; });
  task_ = nullptr;
  if (error_) std::rethrow_exception(std::exchange(error_, nullptr));
}

void WorkerTeam::help(int worker) {
  std::unique_lock lock(mutex_);
  while (true) {
    wake_.wait(lock, [this] { return closing_ || next_ < count_; });
    if (closing_) return;
    work(lock, worker);
    if (busy_ == 0) idle_.notify_one();
  }
}

// An item takes tens of microseconds, so one lock to fetch each is no cost.
void WorkerTeam::work(std::unique_lock<std::mutex>& lock, int worker) {
  while (next_ < count_) {
    const std::int64_t item = next_++;
    ++busy_;
    lock.unlock();
    std::exception_ptr error;
    try {
      (*task_)(item, worker);
    } catch (...) {
      error = std::current_exception();
    }
    lock.lock();
    --busy_;
    if (error) {
      if (!error_) error_ = error;
      count_ = next_;
    }
  }
}

}  // namespace braid::expert
