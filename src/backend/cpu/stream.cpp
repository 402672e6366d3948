#include "backend/cpu/stream.hpp"

#include <atomic>
#include <deque>
#include <exception>
#include <mutex>
#include <system_error>
#include <utility>
#include <variant>

#include "backend/cpu/spin.hpp"
#include "backend/cpu/worker_pool.hpp"
#include "base/check.hpp"

namespace braid {
namespace cpu {
namespace {

class CpuEvent final : public detail::EventBackend {
 public:
  // failure: what the stream had failed with when it reached the event, or null.
  void reach(std::exception_ptr failure) {
    failure_ = std::move(failure);
    reached_.store(1);
    reached_.notify_all();
  }
  void wait() const override {
    wait_while_equal(reached_, 0U);
    if (failure_) std::rethrow_exception(failure_);
  }
  bool ready() const noexcept override { return reached_.load(std::memory_order_acquire) != 0; }

 private:
  std::atomic<std::uint32_t> reached_{0};
  std::exception_ptr failure_;
};

struct Call {
  std::function<void()> callable;
};
struct CallWorkers {
  int num_workers = 1;
  detail::WorkerFunction function;
};
struct Await {
  Event event;
};
struct Reach {
  std::shared_ptr<CpuEvent> event;
};
using Operation = std::variant<Call, CallWorkers, Await, Reach>;

// The State of the stream that this thread works for, also on its pool's threads.
thread_local const void* own_stream = nullptr;

}  // namespace

struct CpuStream::State {
  std::mutex mutex;
  std::deque<Operation> queue;
  bool busy = false;           // an operation was taken and has not ended
  bool ending = false;         // the last handle went
  std::exception_ptr failure;  // written by the stream's thread, once
  std::atomic<std::uint32_t> posted{0};

  void post(Operation operation) {
    {
      const std::lock_guard lock(mutex);
      queue.push_back(std::move(operation));
      posted.fetch_add(1);
    }
    posted.notify_one();
  }

  void end() {
    {
      const std::lock_guard lock(mutex);
      ending = true;
      posted.fetch_add(1);
    }
    posted.notify_one();
  }

  // The next operation, when there is one; false at the end.
  bool take(Operation& operation) {
    std::unique_lock lock(mutex);
    busy = false;
    while (queue.empty()) {
      if (ending) return false;
      const auto seen = posted.load();
      lock.unlock();
      wait_while_equal(posted, seen);
      lock.lock();
    }
    operation = std::move(queue.front());
    queue.pop_front();
    busy = true;
    return true;
  }

  void execute(Operation& operation, WorkerPool& pool) {
    if (auto* reach = std::get_if<Reach>(&operation)) {
      {
        // Before the event: who has waited for it finds the stream idle, and record() cheap.
        const std::lock_guard lock(mutex);
        busy = false;
      }
      return reach->event->reach(failure);
    }
    if (failure) return;
    try {
      if (auto* call = std::get_if<Call>(&operation)) {
        call->callable();
      } else if (auto* workers = std::get_if<CallWorkers>(&operation)) {
        pool.run(workers->num_workers, [this, workers](int worker, int num_workers) {
          own_stream = this;
          workers->function(worker, num_workers);
        });
      } else {
        std::get<Await>(operation).event.wait();
      }
    } catch (...) {
      const std::lock_guard lock(mutex);
      failure = std::current_exception();
    }
  }
};

CpuStream::CpuStream() : state_(std::make_shared<State>()) {
  try {
    thread_ = std::thread([state = state_] { serve(state); });
  } catch (const std::system_error& error) {
    fail(ErrorCode::kMissing, "can't start a CPU stream's thread: {}", error.what());
  }
}

CpuStream::~CpuStream() {
  state_->end();
  if (own_stream == state_.get()) {
    thread_.detach();
  } else {
    thread_.join();
  }
}

void CpuStream::serve(const std::shared_ptr<State>& state) {
  own_stream = state.get();
  WorkerPool pool;
  for (;;) {
    // Ends with each turn: what a callable captured is gone before the stream counts as idle.
    Operation operation;
    if (!state->take(operation)) return;
    state->execute(operation, pool);
  }
}

void CpuStream::run(std::function<void()> callable) {
  require(callable != nullptr, "the callable given to Stream::run is empty");
  state_->post(Call{std::move(callable)});
}

void CpuStream::run_workers(int num_workers, detail::WorkerFunction function) {
  require(num_workers >= 1, "workers is {}, but must be at least 1", num_workers);
  require(function != nullptr, "the function given to run_workers is empty");
  state_->post(CallWorkers{num_workers, std::move(function)});
}

std::shared_ptr<detail::EventBackend> CpuStream::record() {
  auto event = std::make_shared<CpuEvent>();
  {
    const std::lock_guard lock(state_->mutex);
    if (state_->queue.empty() && !state_->busy) {
      event->reach(state_->failure);  // idle: reached already, and no thread needs waking
      return event;
    }
  }
  state_->post(Reach{event});
  return event;
}

void CpuStream::wait(const Event& event) {
  if (event.backend() == nullptr) return;
  require(event.backend()->kind() == Backend::kCpu,
          "the event is of a CUDA stream, and a CPU stream can't wait for it: wait for it on the "
          "host, with Event::wait");
  if (event.ready()) {
    try {
      return event.wait();  // reached without a failure: nothing to wait for
    } catch (...) {
      // The stream must fail where the wait stands in its order, not here.
    }
  }
  state_->post(Await{event});
}

void CpuStream::synchronize() {
  if (own_stream == state_.get()) {
    fail(ErrorCode::kRefused,
         "synchronize() was called by an operation of the same stream, and would wait for itself");
  }
  record()->wait();
}

}  // namespace cpu

namespace {

detail::StreamBackend& backend_of(const Stream& stream) {
  require(stream.valid(), "the stream is empty; Stream::cpu() makes one");
  return *stream.backend();
}

}  // namespace

Stream::Stream(std::shared_ptr<detail::StreamBackend> backend) : backend_(std::move(backend)) {}

Stream Stream::cpu() { return Stream(std::make_shared<cpu::CpuStream>()); }

void Stream::run(std::function<void()> callable) { backend_of(*this).run(std::move(callable)); }

Event Stream::record() { return Event(backend_of(*this).record()); }

void Stream::wait(const Event& event) { backend_of(*this).wait(event); }

void Stream::synchronize() { backend_of(*this).synchronize(); }

Event::Event(std::shared_ptr<detail::EventBackend> backend) : backend_(std::move(backend)) {}

void Event::wait() const {
  if (backend_) backend_->wait();
}

bool Event::ready() const { return !backend_ || backend_->ready(); }

}  // namespace braid
