// CUDA streams and events as Braid's.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>
#include <memory>

#include "machine/stream_backend.hpp"

namespace braid::cuda {

struct StreamState;  // what a stream shares with its events

class CudaEvent final : public braid::detail::EventBackend {
 public:
  // capture: the capture that it was recorded in, or 0.
  CudaEvent(std::shared_ptr<StreamState> state, cudaEvent_t event, std::uint64_t capture);
  ~CudaEvent() override;
  CudaEvent(const CudaEvent&) = delete;
  CudaEvent& operator=(const CudaEvent&) = delete;

  Backend kind() const noexcept override { return Backend::kCuda; }
  void wait() const override;
  bool ready() const noexcept override;
  bool captured() const noexcept override { return capture_ != 0; }

  // Like wait(), without what failed, and at once for one that was captured.
  void settle() const noexcept;

  cudaEvent_t event() const { return event_; }
  std::uint64_t capture() const { return capture_; }
  StreamState& state() const { return *state_; }
  const std::shared_ptr<StreamState>& shared_state() const { return state_; }

 private:
  std::shared_ptr<StreamState> state_;
  cudaEvent_t event_;
  std::uint64_t capture_;
};

class CudaStream final : public braid::detail::StreamBackend {
 public:
  static std::shared_ptr<CudaStream> make(int device);
  static std::shared_ptr<CudaStream> wrap(cudaStream_t stream, int device);

  enum class Owner { kSelf, kCaller };
  CudaStream(cudaStream_t stream, int device, Owner owner);
  ~CudaStream() override;

  Backend kind() const noexcept override { return Backend::kCuda; }
  void run(std::function<void()> callable) override;
  void run_workers(int num_workers, braid::detail::WorkerFunction function) override;
  std::shared_ptr<braid::detail::EventBackend> record() override;
  void wait(const Event& event) override;
  void order_after(const Event& event) override;
  void synchronize() override;
  std::unique_ptr<braid::detail::Recorder> make_recorder() override;

  // synchronize(), and wait() on this stream's events, ask it from now on.
  void watch(const std::weak_ptr<braid::detail::FailureSource>& source);

  cudaStream_t stream() const { return stream_; }
  int device() const { return device_; }
  bool is_captured() const;  // now, into a graph

 private:
  std::shared_ptr<StreamState> state_;
  cudaStream_t stream_;
  int device_;
  Owner owner_;
};

}  // namespace braid::cuda
