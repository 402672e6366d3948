#include "backend/cpu/worker_pool.hpp"

#include <system_error>
#include <utility>

#include "backend/cpu/spin.hpp"
#include "base/check.hpp"

namespace braid::cpu {

WorkerPool::~WorkerPool() {
  function_ = nullptr;
  for (auto& worker : workers_) {
    worker->turn.fetch_add(1);
    worker->turn.notify_one();
  }
  for (auto& worker : workers_) worker->thread.join();
}

void WorkerPool::run(int num_workers, const detail::WorkerFunction& function) {
  grow(num_workers);
  function_ = &function;
  num_workers_ = num_workers;
  pending_.store(static_cast<std::uint32_t>(num_workers - 1));
  for (int i = 1; i < num_workers; ++i) {
    auto& turn = workers_[static_cast<std::size_t>(i - 1)]->turn;
    turn.fetch_add(1);
    turn.notify_one();
  }
  call(0);
  for (auto left = pending_.load(); left != 0; left = pending_.load()) {
    wait_while_equal(pending_, left);
  }
  if (failure_) std::rethrow_exception(std::exchange(failure_, nullptr));
}

void WorkerPool::grow(int num_workers) {
  while (static_cast<int>(workers_.size()) < num_workers - 1) {
    const int index = static_cast<int>(workers_.size()) + 1;
    auto worker = std::make_unique<Worker>();
    try {
      worker->thread = std::thread([this, w = worker.get(), index] { serve(*w, index); });
    } catch (const std::system_error& error) {
      fail(ErrorCode::kMissing, "can't start worker thread {} of {}: {}", index, num_workers,
           error.what());
    }
    workers_.push_back(std::move(worker));
  }
}

void WorkerPool::serve(Worker& worker, int index) {
  for (std::uint32_t seen = 0;; ++seen) {
    wait_while_equal(worker.turn, seen);
    if (function_ == nullptr) return;
    call(index);
    if (pending_.fetch_sub(1) == 1) pending_.notify_one();
  }
}

void WorkerPool::call(int index) noexcept {
  try {
    (*function_)(index, num_workers_);
  } catch (...) {
    const std::lock_guard lock(failure_mutex_);
    if (!failure_) failure_ = std::current_exception();
  }
}

}  // namespace braid::cpu
