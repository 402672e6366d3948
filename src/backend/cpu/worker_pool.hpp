// The threads that run one operation of a CPU stream at the same time.
#pragma once

#include <atomic>
#include <cstdint>
#include <exception>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "machine/stream_backend.hpp"

namespace braid::cpu {

// Used by one thread, which is worker 0 of every run. The others are started when a run first
// needs them and stay, so that a run costs a wake-up and no thread start. There is a thread for
// every worker: workers may spin for each other, which a smaller pool would turn into a deadlock.
class WorkerPool {
 public:
  WorkerPool() = default;
  ~WorkerPool();
  WorkerPool(const WorkerPool&) = delete;
  WorkerPool& operator=(const WorkerPool&) = delete;

  // function(0..num_workers-1, num_workers), all at once. Returns when every call has returned;
  // throws what the first failing worker threw.
  void run(int num_workers, const detail::WorkerFunction& function);

 private:
  struct Worker {
    std::atomic<std::uint32_t> turn{0};  // raised once for each run, and once to end
    std::thread thread;
  };

  void grow(int num_workers);
  void serve(Worker& worker, int index);
  void call(int index) noexcept;

  std::vector<std::unique_ptr<Worker>> workers_;  // worker i is workers_[i - 1]
  // The present run; written before the turns are raised, null to end.
  const detail::WorkerFunction* function_ = nullptr;
  int num_workers_ = 0;
  std::atomic<std::uint32_t> pending_{0};
  std::mutex failure_mutex_;
  std::exception_ptr failure_;
};

}  // namespace braid::cpu
