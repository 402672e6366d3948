// What a Stream and an Event are made of; a backend implements both.
#pragma once

#include <functional>
#include <memory>

#include "braid/stream.hpp"

namespace braid::detail {

class EventBackend {
 public:
  virtual ~EventBackend() = default;
  virtual void wait() const = 0;
  virtual bool ready() const noexcept = 0;
};

// An operation as a CPU stream runs it: called once for each worker, all at the same time, each
// with its index; the operation ends when the last call returns.
using WorkerFunction = std::function<void(int worker, int num_workers)>;

class StreamBackend : public std::enable_shared_from_this<StreamBackend> {
 public:
  virtual ~StreamBackend() = default;
  virtual void run(std::function<void()> callable) = 0;
  // num_workers >= 1 threads that really run at once: workers may wait for each other.
  virtual void run_workers(int num_workers, WorkerFunction function) = 0;
  virtual std::shared_ptr<EventBackend> record() = 0;
  virtual void wait(const Event& event) = 0;
  virtual void synchronize() = 0;
};

}  // namespace braid::detail
