// Stream: operations enqueued on one stream run in order; streams run beside each other.
// Event: a point in a stream that others wait for.
//
// On the CPU a Stream has a thread of its own, and an operation runs on as many worker threads as
// its budget says. On CUDA a Stream is a CUDA stream. Calls that take a Stream enqueue and return.
// Streams and events of the two can't wait for each other.
#pragma once

#include <functional>
#include <memory>

namespace braid {

namespace detail {
class StreamBackend;
class EventBackend;
}  // namespace detail

class Event;

class Stream {
 public:
  // An empty handle; using it throws kInvalidArgument.
  Stream() = default;
  explicit Stream(std::shared_ptr<detail::StreamBackend> backend);

  // A new CPU stream. Its thread ends when the last copy of the handle goes, after what was
  // enqueued has run; that call blocks until then, unless an operation of this very stream makes
  // it. Throws kMissing where no thread can be started.
  static Stream cpu();

  // A new CUDA stream of that device, which does not wait for the legacy default stream. Ends like
  // a CPU stream. Throws kMissing where this build has no CUDA or there is no GPU.
  static Stream cuda(int device);
  // A cudaStream_t of that device, which stays the caller's and outlives every copy of the handle.
  // It may be one that is being captured into a graph.
  static Stream from_cuda(void* cuda_stream, int device);

  // Enqueues a callable. An exception that it throws is kept, and the stream stays failed: it skips
  // what follows (callables are destroyed without being called), and every later synchronize(),
  // and wait() on an event recorded after the failure, throws that exception. Any thread may
  // enqueue. On CUDA only callables are skipped, a callable must not call CUDA, and none can be
  // captured into a graph (kRefused).
  void run(std::function<void()> callable);

  // A point after everything enqueued so far.
  Event record();

  // What is enqueued from now on starts after the event. Returns at once. An event that carries a
  // failure fails this stream too, with the same exception.
  void wait(const Event& event);

  // Blocks the caller until everything enqueued has run; throws what an operation failed with.
  // Throws kRefused when an operation of this stream calls it: it would wait for itself.
  void synchronize();

  bool valid() const { return backend_ != nullptr; }
  detail::StreamBackend* backend() const { return backend_.get(); }

 private:
  std::shared_ptr<detail::StreamBackend> backend_;
};

class Event {
 public:
  // An empty event has already happened.
  Event() = default;
  explicit Event(std::shared_ptr<detail::EventBackend> backend);

  // Blocks the caller until the point was reached; throws what the stream failed with before it,
  // and on CUDA what it has failed with since. Lives on when its stream is gone.
  void wait() const;
  // True once the point was reached. Never blocks, never throws.
  bool ready() const;

  detail::EventBackend* backend() const { return backend_.get(); }

 private:
  std::shared_ptr<detail::EventBackend> backend_;
};

// The callable that starts an operation's receive phase later, on the stream that it is given.
using Hook = std::function<void(Stream&)>;

}  // namespace braid
