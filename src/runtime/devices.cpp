#include "runtime/devices.hpp"

#include <algorithm>
#include <functional>

#include "backend/cpu/device.hpp"
#include "backend/cpu/engine.hpp"
#include "base/check.hpp"
#include "base/together.hpp"
#include "runtime/buffer_core.hpp"
#include "runtime/group_backend.hpp"
#include "runtime/tensor_checks.hpp"
#if defined(BRAID_HAS_CUDA)
#include "backend/cuda/device.hpp"
#include "backend/cuda/engine.hpp"
#include "backend/cuda/nccl_windows.hpp"
#include "backend/cuda/stream.hpp"
#endif

namespace braid {
namespace detail {
namespace {

// A rank's own part in making a buffer, memory that it lacks above all; then every rank knows.
void take_part(GroupBackend& group, const std::function<void()>& part) {
  together([&group](const std::string& mine) { return group.all_gather(mine, "Buffer"); },
           [&part] {
             part();
             return std::string();
           });
}

std::unique_ptr<protocol::Engine> make_cpu_engine(const EngineRequest& request) {
  Group& group = request.buffer.group;
  GroupBackend& backend = group.backend();
  cpu::EngineSetup setup;
  setup.rank = group.rank();
  setup.control = request.control;
  setup.local_bytes = request.local_bytes;
  setup.active_at = request.active_at;
  setup.host_bytes = request.host_bytes;
  setup.memory = backend.allocate(static_cast<std::size_t>(request.symmetric_bytes));
  setup.timeout_ms = group.timeout_ms();
  setup.dead_peers = [peers = group] { return peers.backend().dead_peers(); };
  std::unique_ptr<protocol::Engine> engine;
  take_part(backend,
            [&] { engine = std::make_unique<cpu::CpuEngine>(std::move(setup), request.buffer); });
  return engine;
}

void check_cpu(const GroupOptions& options) {
  require(options.devices.empty(), "devices names {} CUDA devices, but the backend is cpu",
          options.devices.size());
}

#if defined(BRAID_HAS_CUDA)

void check_cuda(const Topology& topology, const GroupOptions& options, int num_named) {
  if (topology.num_nodes() > 1) {
    fail(ErrorCode::kMissing,
         "the topology has {} nodes, but the backend cuda offers one: scale-out from GPUs is not "
         "offered yet",
         topology.num_nodes());
  }
  require(options.devices.empty() || static_cast<int>(options.devices.size()) == num_named,
          "devices names {} CUDA devices, but must name {}, or none for the default",
          options.devices.size(), num_named);
}

std::unique_ptr<protocol::Engine> make_cuda_engine(const EngineRequest& request) {
  Group& group = request.buffer.group;
  GroupBackend& backend = group.backend();
  const auto places = backend.all_gather(backend.device().place(), "Buffer");
  const auto sharing = std::count(places.begin(), places.end(), backend.device().place());
  cuda::EngineSetup setup;
  setup.rank = group.rank();
  setup.control = request.control;
  setup.local_bytes = request.local_bytes;
  setup.active_at = request.active_at;
  setup.host_bytes = request.host_bytes;
  setup.timeout_ms = group.timeout_ms();
  setup.ranks_on_device = static_cast<int>(sharing);
  setup.device = std::static_pointer_cast<cuda::CudaDevice>(backend.shared_device());
  take_part(backend, [&] {
    const protocol::Budget budget = cuda::budget_of(setup);
    for (const auto& [name, workers] : request.workers) {
      runtime::check_workers(name, workers, budget);
    }
  });
  setup.memory = backend.allocate(static_cast<std::size_t>(request.symmetric_bytes));
  setup.dead_peers = [peers = group] { return peers.backend().dead_peers(); };
  std::unique_ptr<protocol::Engine> engine;
  take_part(backend,
            [&] { engine = std::make_unique<cuda::CudaEngine>(std::move(setup), request.buffer); });
  return engine;
}

SymmetricMemory allocate_for_one(GroupBackend& group, std::size_t bytes) {
  SymmetricMemory memory;
  memory.bytes = bytes;
  memory.mapping = group.device().allocate(bytes);
  memory.local = static_cast<std::byte*>(memory.mapping.get());
  memory.peers = {memory.local};
  return memory;
}

// Processes take turns on a GPU, and kernels that wait for each other can't.
void require_own_devices(GroupBackend& group) {
  const auto places = group.all_gather(group.device().place(), "allocate");
  for (std::size_t rank = 0; rank < places.size(); ++rank) {
    const auto first = static_cast<std::size_t>(
        std::find(places.begin(), places.end(), places[rank]) - places.begin());
    require(
        first == rank,
        "ranks {} and {} are processes on the same GPU ({}), but each needs one of its own: "
        "name others in GroupOptions::devices, start no more ranks than there are GPUs, or make "
        "the ranks threads of one process, with Group::threads",
        first, rank, places[rank]);
  }
}

#else

[[noreturn]] void fail_without_cuda(const char* what) {
  fail(ErrorCode::kMissing,
       "{} needs CUDA, which this build is without; cmake --preset cuda makes one that has it",
       what);
}

#endif

}  // namespace

Devices open_devices(const Topology& topology, const GroupOptions& options) {
  if (options.backend == Backend::kCpu) {
    check_cpu(options);
    return Devices(static_cast<std::size_t>(topology.num_ranks),
                   std::make_shared<cpu::CpuDevice>());
  }
#if defined(BRAID_HAS_CUDA)
  check_cuda(topology, options, topology.num_ranks);
  Devices devices;
  for (auto& device : cuda::open_devices(topology.num_ranks, options.devices)) {
    devices.push_back(std::move(device));
  }
  return devices;
#else
  fail_without_cuda("the backend cuda");
#endif
}

std::shared_ptr<DeviceBackend> open_device([[maybe_unused]] const Topology& topology,
                                           const GroupOptions& options, [[maybe_unused]] int rank) {
  if (options.backend == Backend::kCpu) {
    check_cpu(options);
    return std::make_shared<cpu::CpuDevice>();
  }
#if defined(BRAID_HAS_CUDA)
  check_cuda(topology, options, 1);
  const int index = options.devices.empty() ? topology.rail_of(rank) % cuda::num_devices()
                                            : options.devices.front();
  cuda::make_current(index);
  return cuda::open_devices(1, {index}).front();
#else
  fail_without_cuda("the backend cuda");
#endif
}

SymmetricMemory allocate_between_processes([[maybe_unused]] GroupBackend& group,
                                           [[maybe_unused]] std::size_t bytes) {
#if defined(BRAID_HAS_CUDA)
  if (group.topology().num_ranks == 1) return allocate_for_one(group, bytes);
  require_own_devices(group);
  cuda::WindowMemory windows = cuda::allocate_windows(
      {group.rank(), group.topology().num_ranks, group.device().index(), bytes,
       [&group](const std::string& mine) { return group.all_gather(mine, "allocate"); }});
  SymmetricMemory memory;
  memory.bytes = bytes;
  memory.peers = std::move(windows.peers);
  memory.local = windows.local;
  memory.mapping = std::move(windows.mapping);
  return memory;
#else
  fail_without_cuda("memory of GPUs");
#endif
}

std::unique_ptr<protocol::Engine> make_engine(const EngineRequest& request) {
#if defined(BRAID_HAS_CUDA)
  if (request.buffer.group.backend_kind() == Backend::kCuda) return make_cuda_engine(request);
#endif
  return make_cpu_engine(request);
}

}  // namespace detail

#if defined(BRAID_HAS_CUDA)

Stream Stream::cuda(int device) { return Stream(braid::cuda::CudaStream::make(device)); }
Stream Stream::from_cuda(void* cuda_stream, int device) {
  return Stream(braid::cuda::CudaStream::wrap(static_cast<cudaStream_t>(cuda_stream), device));
}

#else

Stream Stream::cuda(int) { detail::fail_without_cuda("Stream::cuda"); }
Stream Stream::from_cuda(void*, int) { detail::fail_without_cuda("Stream::from_cuda"); }

#endif

}  // namespace braid
