// What a Stream and an Event are made of; a backend implements both.
#pragma once

#include <functional>
#include <memory>

#include "braid/device.hpp"
#include "braid/stream.hpp"
#include "machine/recorder.hpp"

namespace braid::detail {

class EventBackend {
 public:
  virtual ~EventBackend() = default;
  virtual Backend kind() const noexcept { return Backend::kCpu; }
  virtual void wait() const = 0;
  virtual bool ready() const noexcept = 0;
  // Recorded while its stream was captured into a graph: a point of each of the graph's launches,
  // and of none that the host could wait for.
  virtual bool captured() const noexcept { return false; }
};

// Something whose operations may fail after the call that enqueued them has returned.
class FailureSource : public std::enable_shared_from_this<FailureSource> {
 public:
  virtual ~FailureSource() = default;
  // Throws what its own operations failed with, once they did.
  virtual void throw_failure() = 0;
  // Throws, once, what its operations met in their input and went on after. Not for calls that
  // peers wait for.
  virtual void throw_bad_input() {}
};

// An operation as a CPU stream runs it: called once for each worker, all at the same time, each
// with its index; the operation ends when the last call returns.
using WorkerFunction = std::function<void(int worker, int num_workers)>;

class StreamBackend : public std::enable_shared_from_this<StreamBackend> {
 public:
  virtual ~StreamBackend() = default;
  virtual Backend kind() const noexcept { return Backend::kCpu; }
  virtual void run(std::function<void()> callable) = 0;
  // num_workers >= 1 threads that really run at once: workers may wait for each other.
  virtual void run_workers(int num_workers, WorkerFunction function) = 0;
  virtual std::shared_ptr<EventBackend> record() = 0;
  virtual void wait(const Event& event) = 0;
  // The wait of Braid's own ordering, for what the caller did not ask to be connected: a stream
  // that is being captured into a graph and one that is not leave each other alone.
  virtual void order_after(const Event& event) { wait(event); }
  virtual void synchronize() = 0;
  // Graphs and times of this stream, which the recorder keeps alive; null where there is none.
  virtual std::unique_ptr<Recorder> make_recorder() { return nullptr; }
};

}  // namespace braid::detail
