#include "gpu/window_kernels.hpp"

#include "backend/cuda/launch.hpp"

namespace braid::gpu_test {
namespace {

__global__ void mark_kernel(const __grid_constant__ MarkArgs args) {
  const std::size_t step = std::size_t{gridDim.x} * blockDim.x;
  for (std::size_t i = std::size_t{blockIdx.x} * blockDim.x + threadIdx.x; i < args.num_words;
       i += step)
    args.words[i] = args.seed + i * kMarkStep;
}

}  // namespace

void write_marks(const MarkArgs& args) {
  cuda::LaunchShape shape;
  shape.blocks = 32;
  shape.threads = 256;
  cuda::launch(mark_kernel, shape, args);
  cuda::check(cudaDeviceSynchronize(), "mark_kernel");
}

}  // namespace braid::gpu_test
