// A few threads for the length of one call: the caller directs, everybody works.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace braid::expert {

class WorkerTeam {
 public:
  // num_workers - 1 helpers are started. Where the system has no more threads to give, there are
  // fewer: work is handed out item by item, so only the time changes.
  explicit WorkerTeam(int num_workers);
  ~WorkerTeam();
  WorkerTeam(const WorkerTeam&) = delete;
  WorkerTeam& operator=(const WorkerTeam&) = delete;

  int num_workers() const { return static_cast<int>(helpers_.size()) + 1; }

  // Calls task(item, worker) once for every item in [0, count) and returns when all have ended.
  // worker is in [0, num_workers) and at work on one item at a time. After a task throws, no
  // further item is started, and the first exception is thrown here.
  using Task = std::function<void(std::int64_t item, int worker)>;
  void for_each(std::int64_t count, const Task& task);

 private:
  void help(int worker);
  void work(std::unique_lock<std::mutex>& lock, int worker);

  std::mutex mutex_;
  std::condition_variable wake_;  // helpers: items are there, or the end
  std::condition_variable idle_;  // the caller: the last item has ended
  const Task* task_ = nullptr;
  std::int64_t next_ = 0;
  std::int64_t count_ = 0;
  int busy_ = 0;  // items begun and not ended
  bool closing_ = false;
  std::exception_ptr error_;
  std::vector<std::thread> helpers_;
};

}  // namespace braid::expert
