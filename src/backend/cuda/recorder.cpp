#include "backend/cuda/recorder.hpp"

#include <utility>

#include "backend/cuda/device_guard.hpp"
#include "backend/cuda/launch.hpp"
#include "backend/cuda/nothing.hpp"

namespace braid::cuda {
namespace {

class CudaGraph final : public braid::detail::Graph {
 public:
  CudaGraph(std::shared_ptr<CudaStream> stream, cudaGraph_t graph) : stream_(std::move(stream)) {
    const cudaError_t status = cudaGraphInstantiate(&executable_, graph, 0);
    cudaGraphDestroy(graph);
    check(status, "cudaGraphInstantiate");
  }
  ~CudaGraph() override {
    const DeviceGuard guard(stream_->device());
    if (executable_ != nullptr) cudaGraphExecDestroy(executable_);
  }
  CudaGraph(const CudaGraph&) = delete;
  CudaGraph& operator=(const CudaGraph&) = delete;

  // Not at its first launch: it may wait for the device, and so for another rank.
  void upload() {
    check(cudaGraphUpload(executable_, stream_->stream()), "cudaGraphUpload");
    stream_->synchronize();
  }
  void launch() override {
    const DeviceGuard guard(stream_->device());
    check(cudaGraphLaunch(executable_, stream_->stream()), "cudaGraphLaunch");
  }

 private:
  std::shared_ptr<CudaStream> stream_;
  cudaGraphExec_t executable_ = nullptr;
};

}  // namespace

CudaRecorder::CudaRecorder(std::shared_ptr<CudaStream> stream) : stream_(std::move(stream)) {
  const DeviceGuard guard(stream_->device());
  check(cudaEventCreate(&start_), "cudaEventCreate");
  check(cudaEventCreate(&stop_), "cudaEventCreate");
}

CudaRecorder::~CudaRecorder() {
  const DeviceGuard guard(stream_->device());
  if (start_ != nullptr) cudaEventDestroy(start_);
  if (stop_ != nullptr) cudaEventDestroy(stop_);
}

std::shared_ptr<braid::detail::Graph> CudaRecorder::capture(const std::function<void()>& enqueue) {
  const DeviceGuard guard(stream_->device());
  cudaGraph_t graph = nullptr;
  // Other ranks of the process go on as they like.
  check(cudaStreamBeginCapture(stream_->stream(), cudaStreamCaptureModeThreadLocal),
        "cudaStreamBeginCapture");
  try {
    enqueue();
  } catch (...) {
    if (cudaStreamEndCapture(stream_->stream(), &graph) == cudaSuccess) cudaGraphDestroy(graph);
    cudaGetLastError();  // of a capture that was invalid: it would be the next call's
    throw;
  }
  check(cudaStreamEndCapture(stream_->stream(), &graph), "cudaStreamEndCapture");
  auto executable = std::make_shared<CudaGraph>(stream_, graph);
  executable->upload();
  return executable;
}

void CudaRecorder::start() {
  const DeviceGuard guard(stream_->device());
  check(cudaEventRecord(start_, stream_->stream()), "cudaEventRecord");
}

void CudaRecorder::stop() {
  const DeviceGuard guard(stream_->device());
  check(cudaEventRecord(stop_, stream_->stream()), "cudaEventRecord");
}

double CudaRecorder::microseconds() const {
  const DeviceGuard guard(stream_->device());
  float milliseconds = 0;
  check(cudaEventElapsedTime(&milliseconds, start_, stop_), "cudaEventElapsedTime");
  return 1e3 * static_cast<double>(milliseconds);
}

void CudaRecorder::launch_nothing(int blocks) {
  const DeviceGuard guard(stream_->device());
  cuda::launch_nothing(blocks, stream_->stream());
}

}  // namespace braid::cuda
