#include "backend/cuda/launch.hpp"

#include <array>
#include <atomic>

#include "backend/cuda/shared_map.hpp"
#include "base/check.hpp"

namespace braid::cuda {
namespace {

constexpr std::int64_t kSharedByDefault = 48 * 1024;

// Which kernels may use all of a block's shared memory, on which device. The driver knows, but
// can't be asked at each launch: that would be a good part of a host call.
class Loaded {
 public:
  static bool has(std::uint64_t kernel) { return place(kernel).load() == kernel; }
  static void add(std::uint64_t kernel) { place(kernel).store(kernel); }
  static std::uint64_t here(const void* kernel) {
    int device = 0;
    check(cudaGetDevice(&device), "cudaGetDevice");
    return reinterpret_cast<std::uint64_t>(kernel) ^ (static_cast<std::uint64_t>(device) + 1) << 48;
  }

 private:
  // One that took another's place makes that one be loaded again, which costs time only.
  static std::atomic<std::uint64_t>& place(std::uint64_t kernel) {
    static std::array<std::atomic<std::uint64_t>, 256> places{};
    return places[(kernel >> 4 ^ kernel >> 12 ^ kernel >> 48) % places.size()];
  }
};

}  // namespace

void check(cudaError_t status, const char* what) {
  if (status == cudaSuccess) return;
  fail(ErrorCode::kInternal, "{}: {}", what, cudaGetErrorString(status));
}

void detail::load(const void* kernel) {
  cudaFuncAttributes attributes{};
  check(cudaFuncGetAttributes(&attributes, kernel), "cudaFuncGetAttributes");
  const auto most = kSharedLimit - static_cast<std::int64_t>(attributes.sharedSizeBytes);
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                             static_cast<int>(most)),
        "cudaFuncSetAttribute");
  Loaded::add(Loaded::here(kernel));
}

void detail::launch(const void* kernel, const LaunchShape& shape, void** arguments) {
  if (shape.shared_bytes > kSharedByDefault && !Loaded::has(Loaded::here(kernel))) load(kernel);
  cudaLaunchAttribute attributes[2] = {};
  unsigned count = 0;
  if (shape.residency == Residency::kAll) {
    attributes[count].id = cudaLaunchAttributeCooperative;
    attributes[count++].val.cooperative = 1;
  }
  if (shape.start == Start::kEarly) {
    attributes[count].id = cudaLaunchAttributeProgrammaticStreamSerialization;
    attributes[count++].val.programmaticStreamSerializationAllowed = 1;
  }
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(static_cast<unsigned>(shape.blocks));
  config.blockDim = dim3(static_cast<unsigned>(shape.threads));
  config.dynamicSmemBytes = static_cast<std::size_t>(shape.shared_bytes);
  config.stream = shape.stream;
  config.attrs = attributes;
  config.numAttrs = count;
  check(cudaLaunchKernelExC(&config, kernel, arguments), "cudaLaunchKernelExC");
}

}  // namespace braid::cuda
