#include "backend/cuda/nccl_windows.hpp"

#include <cuda_runtime_api.h>

#include <cstring>

#include "backend/cuda/device.hpp"
#include "backend/cuda/launch.hpp"
#include "backend/cuda/nccl_library.hpp"
#include "backend/cuda/nccl_peers.hpp"
#include "base/check.hpp"
#include "base/math.hpp"
#include "base/together.hpp"

namespace braid::cuda {
namespace {

// One rank's part in the windows of all, and what it takes back in the end.
class Window {
 public:
  explicit Window(const WindowRequest& request)
      : nccl_(nccl_library()),
        rank_(request.rank),
        num_ranks_(request.num_ranks),
        device_(request.device),
        // NCCL itself rounds what it allocates up to the GPU's granularity.
        bytes_(round_up(request.bytes, std::size_t{NCCL_WIN_REQUIRED_ALIGNMENT})) {}
  ~Window();
  Window(const Window&) = delete;
  Window& operator=(const Window&) = delete;

  std::string new_id() const;
  void allocate();
  void join(const std::string& id);
  void share();
  std::vector<std::byte*> peers() const;

 private:
  void require_one_domain() const;

  const NcclLibrary& nccl_;
  int rank_;
  int num_ranks_;
  int device_;
  std::size_t bytes_;
  void* memory_ = nullptr;
  ncclComm_t comm_ = nullptr;
  ncclWindow_t window_ = nullptr;
  ncclDevComm dev_comm_{};
  bool has_dev_comm_ = false;
};

// Local, all of it: a peer may be gone, or may come to this much later. That is why the
// communicator is aborted, not destroyed: ncclCommDestroy waits until the other ranks have
// destroyed theirs. Peers hold the memory that they have mapped, so its end here takes nothing from
// under them.
Window::~Window() {
  int before = 0;
  cudaGetDevice(&before);
  if (before != device_) cudaSetDevice(device_);
  cudaDeviceSynchronize();  // unmapping memory does not wait for the kernels that use it
  if (has_dev_comm_) nccl_.dev_comm_destroy(comm_, &dev_comm_);
  if (window_ != nullptr) nccl_.window_deregister(comm_, window_);
  if (comm_ != nullptr) nccl_.comm_abort(comm_);
  if (memory_ != nullptr) nccl_.mem_free(memory_);
  if (before != device_) cudaSetDevice(before);
}

std::string Window::new_id() const {
  ncclUniqueId id;
  nccl_.check(nccl_.get_unique_id(&id), "ncclGetUniqueId");
  return {id.internal, sizeof(id.internal)};
}

void Window::allocate() {
  nccl_.check(nccl_.mem_alloc(&memory_, bytes_),
              fmt::format("ncclMemAlloc of {} bytes on device {}", bytes_, device_));
  check(cudaMemset(memory_, 0, bytes_), "cudaMemset");
  check(cudaDeviceSynchronize(), "cudaMemset");
}

void Window::join(const std::string& bytes) {
  ncclUniqueId id;
  BRAID_CHECK(bytes.size() == sizeof(id.internal));
  std::memcpy(id.internal, bytes.data(), sizeof(id.internal));
  nccl_.check(nccl_.comm_init_rank(&comm_, num_ranks_, id, rank_),
              fmt::format("ncclCommInitRank on device {}", device_));
}

void Window::share() {
  nccl_.check(nccl_.window_register(comm_, memory_, bytes_, &window_, NCCL_WIN_COLL_SYMMETRIC),
              fmt::format("ncclCommWindowRegister of {} bytes on device {}", bytes_, device_));
  // Nothing is asked for, multicast least of all: lsaMultimem is false in either version.
#ifdef NCCL_DEV_COMM_REQUIREMENTS_INITIALIZER
  const ncclDevCommRequirements needs = NCCL_DEV_COMM_REQUIREMENTS_INITIALIZER;
#else
  const ncclDevCommRequirements needs{};
#endif
  // The registration succeeds without symmetric memory too, and leaves no window.
  const ncclResult_t result = nccl_.dev_comm_create(comm_, &needs, &dev_comm_);
  has_dev_comm_ = result == ncclSuccess;
  if (result == ncclInvalidUsage || (has_dev_comm_ && window_ == nullptr))
    fail(ErrorCode::kMissing,
         "NCCL has no symmetric memory for these {} ranks: each of their GPUs must reach every "
         "other one's memory (NVLink, or PCIe peer access), the driver must support CUDA's virtual "
         "memory, and NCCL_CUMEM_ENABLE, NCCL_WIN_ENABLE and NCCL_P2P_DISABLE must not forbid it",
         num_ranks_);
  nccl_.check(result, "ncclDevCommCreate");
  require_one_domain();
}

void Window::require_one_domain() const {
  const int within_reach = ncclTeamLsa(dev_comm_).nRanks;
  if (within_reach == num_ranks_) return;
  fail(
      ErrorCode::kMissing,
      "the {} ranks are not in one load/store domain: only {} at a time reach each other's memory; "
      "start no more ranks than one host (or one NVLink domain) has GPUs",
      num_ranks_, within_reach);
}

std::vector<std::byte*> Window::peers() const { return peers_of_window(window_, num_ranks_); }

// One step of the set-up: NCCL's next call would wait for a rank that failed in this one.
std::vector<std::string> together(const WindowRequest& request,
                                  const std::function<std::string()>& part) {
  std::vector<std::string> texts = braid::together(request.all_gather, part);
  BRAID_CHECK(texts.size() == static_cast<std::size_t>(request.num_ranks));
  return texts;
}

void require_same_bytes(const WindowRequest& request) {
  const auto bytes = together(request, [&] {
    require(request.bytes > 0, "bytes is 0, but must be positive");
    return std::to_string(request.bytes);
  });
  for (std::size_t rank = 1; rank < bytes.size(); ++rank)
    require(bytes[rank] == bytes[0],
            "rank {} allocates {} bytes of symmetric memory but rank 0 allocates {}; every rank "
            "must ask for the same",
            rank, bytes[rank], bytes[0]);
}

}  // namespace

WindowMemory allocate_windows(const WindowRequest& request) {
  require(request.num_ranks > 0 && request.rank >= 0 && request.rank < request.num_ranks,
          "rank is {} of {}, but must be from 0 to one less than their number", request.rank,
          request.num_ranks);
  require_same_bytes(request);
  std::shared_ptr<Window> window;
  const auto ids = together(request, [&] {
    make_current(request.device);
    window = std::make_shared<Window>(request);
    window->allocate();
    return request.rank == 0 ? window->new_id() : std::string();
  });
  together(request, [&] {
    window->join(ids[0]);
    return std::string();
  });
  together(request, [&] {
    window->share();
    return std::string();
  });
  WindowMemory memory;
  together(request, [&] {
    memory.peers = window->peers();
    return std::string();
  });
  // On this device the memory has two addresses, NCCL's and its place among the peers'. A kernel
  // that used both would have to order its accesses with fences for aliases; so nobody sees NCCL's.
  memory.local = memory.peers[static_cast<std::size_t>(request.rank)];
  memory.mapping = std::move(window);
  return memory;
}

}  // namespace braid::cuda
