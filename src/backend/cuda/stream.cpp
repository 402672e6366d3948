#include "backend/cuda/stream.hpp"

#include <algorithm>
#include <atomic>
#include <exception>
#include <mutex>
#include <utility>
#include <vector>

#include "backend/cuda/device.hpp"
#include "backend/cuda/device_guard.hpp"
#include "backend/cuda/launch.hpp"
#include "backend/cuda/recorder.hpp"
#include "base/check.hpp"

namespace braid::cuda {

namespace {

// This thread is CUDA's own, and runs a callable of a stream or drops what it held.
thread_local bool in_callback = false;

}  // namespace

using Sources = std::vector<std::weak_ptr<braid::detail::FailureSource>>;

struct StreamState {
  explicit StreamState(int its_device) : device(its_device) {}
  ~StreamState() {
    if (in_callback) return;  // where CUDA may not be called: the events stay
    const DeviceGuard guard(device);
    for (const cudaEvent_t event : idle_events) cudaEventDestroy(event);
    for (const cudaEvent_t event : captured_events) cudaEventDestroy(event);
  }
  StreamState(const StreamState&) = delete;
  StreamState& operator=(const StreamState&) = delete;

  const int device;
  std::atomic<bool> has_callables{false};
  std::mutex mutex;
  std::exception_ptr failure;  // of a callable, the first
  Sources sources;
  std::vector<cudaEvent_t> idle_events;  // an operation records one: making it anew costs more
  // Not used again, and not destroyed while a capture may still be going on.
  std::vector<cudaEvent_t> captured_events;

  cudaEvent_t take_event() {
    {
      const std::lock_guard lock(mutex);
      if (!idle_events.empty()) {
        const cudaEvent_t event = idle_events.back();
        idle_events.pop_back();
        return event;
      }
    }
    cudaEvent_t event = nullptr;
    check(cudaEventCreateWithFlags(&event, cudaEventDisableTiming), "cudaEventCreateWithFlags");
    return event;
  }
  void give_back(cudaEvent_t event, bool captured) {
    const std::lock_guard lock(mutex);
    (captured ? captured_events : idle_events).push_back(event);
  }

  void watch(const std::weak_ptr<braid::detail::FailureSource>& source) {
    const auto same = [&source](const auto& other) {
      return !other.owner_before(source) && !source.owner_before(other);
    };
    const std::lock_guard lock(mutex);
    if (!sources.empty() && same(sources.back())) return;
    std::erase_if(sources, [&](const auto& each) { return each.expired() || same(each); });
    sources.push_back(source);
  }

  void fail(std::exception_ptr with) {
    const std::lock_guard lock(mutex);
    if (!failure) failure = std::move(with);
  }
  std::exception_ptr failed() {
    const std::lock_guard lock(mutex);
    return failure;
  }
  Sources watched() {
    const std::lock_guard lock(mutex);
    return sources;
  }
  // Of a callable, or of an operation on this stream.
  void throw_failure() {
    if (const std::exception_ptr with = failed()) std::rethrow_exception(with);
    for (const auto& source : watched()) {
      if (const auto alive = source.lock()) {
        alive->throw_failure();
        alive->throw_bad_input();
      }
    }
  }
};

namespace {

// The state of the stream whose callable runs on this thread.
thread_local const void* own_stream = nullptr;

// Which capture the stream is in, or 0. Its device is the current one: a default stream is of that.
std::uint64_t capture_of(cudaStream_t stream) {
  cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
  unsigned long long id = 0;
  check(cudaStreamGetCaptureInfo(stream, &status, &id), "cudaStreamGetCaptureInfo");
  return status == cudaStreamCaptureStatusNone ? 0 : std::uint64_t{id} + 1;
}

const CudaEvent& cuda_event(const Event& event) {
  require(event.backend()->kind() == Backend::kCuda,
          "the event is of a CPU stream, and a CUDA stream can't wait for it: wait for it on the "
          "host, with Event::wait");
  return static_cast<const CudaEvent&>(*event.backend());
}

struct Callback {
  std::shared_ptr<StreamState> state;
  std::function<void()> callable;
};

void CUDART_CB call(void* data) {
  std::unique_ptr<Callback> callback(static_cast<Callback*>(data));
  in_callback = true;
  own_stream = callback->state.get();
  try {
    if (!callback->state->failed()) callback->callable();
  } catch (...) {
    callback->state->fail(std::current_exception());
  }
  callback.reset();  // what it holds may be a stream's last handle
  own_stream = nullptr;
  in_callback = false;
}

}  // namespace

CudaEvent::CudaEvent(std::shared_ptr<StreamState> state, cudaEvent_t event, std::uint64_t capture)
    : state_(std::move(state)), event_(event), capture_(capture) {}

CudaEvent::~CudaEvent() { state_->give_back(event_, capture_ != 0); }

void CudaEvent::wait() const {
  if (capture_ != 0) {
    fail(ErrorCode::kRefused,
         "the event was recorded while its stream was captured into a graph: the host can't wait "
         "for it");
  }
  check(cudaEventSynchronize(event_), "cudaEventSynchronize");
  state_->throw_failure();
}

bool CudaEvent::ready() const noexcept {
  // Of a device that is lost, wait() has more to say.
  return capture_ == 0 && cudaEventQuery(event_) != cudaErrorNotReady;
}

void CudaEvent::settle() const noexcept {
  if (capture_ == 0) cudaEventSynchronize(event_);
}

std::shared_ptr<CudaStream> CudaStream::make(int device) {
  check_device(device);
  const DeviceGuard guard(device);
  cudaStream_t stream = nullptr;
  check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "cudaStreamCreateWithFlags");
  return std::make_shared<CudaStream>(stream, device, Owner::kSelf);
}

std::shared_ptr<CudaStream> CudaStream::wrap(cudaStream_t stream, int device) {
  check_device(device);
  return std::make_shared<CudaStream>(stream, device, Owner::kCaller);
}

CudaStream::CudaStream(cudaStream_t stream, int device, Owner owner)
    : state_(std::make_shared<StreamState>(device)),
      stream_(stream),
      device_(device),
      owner_(owner) {}

CudaStream::~CudaStream() {
  // A callable that dropped the last handle may not call CUDA: the stream stays until the process
  // ends.
  if (owner_ == Owner::kCaller || in_callback) return;
  const DeviceGuard guard(device_);
  cudaStreamSynchronize(stream_);
  cudaStreamDestroy(stream_);
}

void CudaStream::run(std::function<void()> callable) {
  require(callable != nullptr, "the callable given to Stream::run is empty");
  const DeviceGuard guard(device_);
  if (capture_of(stream_) != 0) {
    // A graph would call it again and again, and nobody would say when it may go.
    fail(ErrorCode::kRefused, "the stream is being captured into a graph, which takes no callable");
  }
  state_->has_callables = true;
  auto callback = std::make_unique<Callback>(Callback{state_, std::move(callable)});
  check(cudaLaunchHostFunc(stream_, call, callback.get()), "cudaLaunchHostFunc");
  (void)callback.release();
}

void CudaStream::run_workers(int, braid::detail::WorkerFunction) {
  fail(ErrorCode::kInternal, "a CUDA stream has no worker threads");
}

bool CudaStream::is_captured() const {
  const DeviceGuard guard(device_);
  return capture_of(stream_) != 0;
}

std::shared_ptr<braid::detail::EventBackend> CudaStream::record() {
  const DeviceGuard guard(device_);
  const std::uint64_t capture = capture_of(stream_);
  auto event = std::make_shared<CudaEvent>(state_, state_->take_event(), capture);
  check(cudaEventRecord(event->event(), stream_), "cudaEventRecord");
  return event;
}

void CudaStream::wait(const Event& event) {
  if (event.backend() == nullptr) return;
  const CudaEvent& given = cuda_event(event);
  const DeviceGuard guard(device_);
  check(cudaStreamWaitEvent(stream_, given.event(), 0), "cudaStreamWaitEvent");
  if (&given.state() == state_.get()) return;
  for (const auto& source : given.state().watched()) state_->watch(source);
  // What a callable before the event fails with is known when the event is reached.
  if (given.state().has_callables && capture_of(stream_) == 0) {
    run([mine = std::weak_ptr(state_), theirs = given.shared_state()] {
      const auto state = mine.lock();
      if (const auto failure = theirs->failed(); failure && state) state->fail(failure);
    });
  }
}

void CudaStream::order_after(const Event& event) {
  if (event.backend() == nullptr) return;
  const CudaEvent& given = cuda_event(event);
  const DeviceGuard guard(device_);
  // A wait across the edge of a capture is an error, or would draw the other stream into it.
  if (given.capture() != capture_of(stream_)) return;
  check(cudaStreamWaitEvent(stream_, given.event(), 0), "cudaStreamWaitEvent");
}

void CudaStream::synchronize() {
  if (own_stream == state_.get()) {
    fail(ErrorCode::kRefused,
         "synchronize() was called by an operation of the same stream, and would wait for itself");
  }
  const DeviceGuard guard(device_);
  if (capture_of(stream_) != 0) {
    fail(ErrorCode::kRefused,
         "the stream is being captured into a graph, and can't be synchronized");
  }
  check(cudaStreamSynchronize(stream_), "cudaStreamSynchronize");
  state_->throw_failure();
}

std::unique_ptr<braid::detail::Recorder> CudaStream::make_recorder() {
  return std::make_unique<CudaRecorder>(std::static_pointer_cast<CudaStream>(shared_from_this()));
}

void CudaStream::watch(const std::weak_ptr<braid::detail::FailureSource>& source) {
  state_->watch(source);
}

}  // namespace braid::cuda
