#include "backend/cuda/launch.hpp"

#include "base/check.hpp"

namespace braid::cuda {

void check(cudaError_t status, const char* what) {
  if (status == cudaSuccess) return;
  fail(ErrorCode::kInternal, "{}: {}", what, cudaGetErrorString(status));
}

void detail::launch(const void* kernel, const LaunchShape& shape, void** arguments) {
  const auto shared_bytes = static_cast<std::size_t>(shape.shared_bytes);
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                             static_cast<int>(shape.shared_bytes)),
        "cudaFuncSetAttribute");
  cudaLaunchAttribute attribute{};
  attribute.id = cudaLaunchAttributeCooperative;
  attribute.val.cooperative = 1;
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(static_cast<unsigned>(shape.blocks));
  config.blockDim = dim3(static_cast<unsigned>(shape.threads));
  config.dynamicSmemBytes = shared_bytes;
  config.stream = shape.stream;
  config.attrs = &attribute;
  config.numAttrs = shape.residency == Residency::kAll ? 1 : 0;
  check(cudaLaunchKernelExC(&config, kernel, arguments), "cudaLaunchKernelExC");
}

}  // namespace braid::cuda
