// Graphs of a CUDA stream, and the time between two of its points.
#pragma once

#include <cuda_runtime_api.h>

#include <functional>
#include <memory>

#include "backend/cuda/stream.hpp"
#include "machine/recorder.hpp"

namespace braid::cuda {

class CudaRecorder final : public braid::detail::Recorder {
 public:
  explicit CudaRecorder(std::shared_ptr<CudaStream> stream);
  ~CudaRecorder() override;
  CudaRecorder(const CudaRecorder&) = delete;
  CudaRecorder& operator=(const CudaRecorder&) = delete;

  std::shared_ptr<braid::detail::Graph> capture(const std::function<void()>& enqueue) override;
  void start() override;
  void stop() override;
  double microseconds() const override;
  void launch_nothing(int blocks) override;

 private:
  std::shared_ptr<CudaStream> stream_;
  cudaEvent_t start_ = nullptr, stop_ = nullptr;
};

}  // namespace braid::cuda
