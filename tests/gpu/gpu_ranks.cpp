#include "gpu/gpu_ranks.hpp"

#include "backend/cuda/launch.hpp"

namespace braid::gpu_test {

using cuda::check;

DeviceMemory::DeviceMemory(std::int64_t bytes, int device) : bytes_(bytes) {
  check(cudaSetDevice(device), "cudaSetDevice");
  void* data = nullptr;
  check(cudaMalloc(&data, static_cast<std::size_t>(bytes)), "cudaMalloc");
  data_ = static_cast<std::byte*>(data);
  check(cudaMemset(data, 0, static_cast<std::size_t>(bytes)), "cudaMemset");
}
DeviceMemory::~DeviceMemory() { cudaFree(data_); }
void DeviceMemory::upload(const void* from) {
  check(cudaMemcpy(data_, from, static_cast<std::size_t>(bytes_), cudaMemcpyHostToDevice),
        "cudaMemcpy");
}
void DeviceMemory::download(void* to) const {
  check(cudaMemcpy(to, data_, static_cast<std::size_t>(bytes_), cudaMemcpyDeviceToHost),
        "cudaMemcpy");
}
void DeviceMemory::poison() {
  check(cudaMemset(data_, kPoison, static_cast<std::size_t>(bytes_)), "cudaMemset");
}

GpuMachines::GpuMachines(const BlockSizes& sizes, int num_workers, std::int64_t timeout_ns,
                         int num_devices)
    : sizes_(sizes), num_workers_(num_workers), timeout_ns_(timeout_ns), num_devices_(num_devices) {
  for (int device = 0; device < num_devices; ++device) {
    check(cudaSetDevice(device), "cudaSetDevice");
    cuda::load_kernels();
    for (int peer = 0; peer < num_devices; ++peer) {
      if (peer == device) continue;
      const cudaError_t status = cudaDeviceEnablePeerAccess(peer, 0);
      if (status == cudaErrorPeerAccessAlreadyEnabled) {
        (void)cudaGetLastError();
      } else {
        check(status, "cudaDeviceEnablePeerAccess");
      }
    }
  }
  const std::vector<std::byte> fresh = fresh_local(sizes);
  std::vector<std::byte*> peers;
  for (int rank = 0; rank < sizes.num_ranks; ++rank) {
    symmetric_.push_back(std::make_unique<DeviceMemory>(sizes.symmetric_bytes, device(rank)));
    peers.push_back(symmetric_.back()->data());
    locals_.push_back(std::make_unique<DeviceMemory>(sizes.local_bytes, device(rank)));
    locals_.back()->upload(fresh.data());
    statuses_.push_back(std::make_unique<DeviceMemory>(
        static_cast<std::int64_t>(sizeof(cuda::RankStatus)), device(rank)));
  }
  for (int rank = 0; rank < sizes.num_ranks; ++rank) {
    peers_.push_back(std::make_unique<DeviceMemory>(
        static_cast<std::int64_t>(peers.size() * sizeof(void*)), device(rank)));
    peers_.back()->upload(peers.data());
  }
  void* timeouts = nullptr;
  const std::size_t bytes = peers.size() * sizeof(machine::TimeoutRecord);
  check(cudaHostAlloc(&timeouts, bytes, cudaHostAllocMapped | cudaHostAllocPortable),
        "cudaHostAlloc");
  timeouts_ = new (timeouts) machine::TimeoutRecord[peers.size()];
}
GpuMachines::~GpuMachines() { cudaFreeHost(timeouts_); }

cuda::MachineArgs GpuMachines::machine(int rank) const {
  const auto at = static_cast<std::size_t>(rank);
  cuda::MachineArgs machine;
  machine.rank = rank;
  machine.num_workers = num_workers_;
  machine.peers = reinterpret_cast<std::byte* const*>(peers_[at]->data());
  machine.local = symmetric_[at]->data();
  machine.status = reinterpret_cast<cuda::RankStatus*>(statuses_[at]->data());
  machine.timeout = timeouts_ + rank;  // unified addressing: the device's pointer too
  machine.timeout_ns = timeout_ns_;
  int sms = 0;
  check(cudaDeviceGetAttribute(&sms, cudaDevAttrMultiProcessorCount, device(rank)),
        "cudaDeviceGetAttribute");
  machine.starts_early = sizes_.num_ranks <= num_devices_;
  machine.takes_device = machine.starts_early && num_workers_ >= sms;
  return machine;
}

GpuRanks::GpuRanks(const CaseShape& shape, int num_workers, std::int64_t timeout_ns,
                   int num_devices)
    : shape_(shape), machines_(block_sizes(shape), num_workers, timeout_ns, num_devices) {}

cuda::DispatchKernelArgs GpuRanks::args(int rank) const {
  cuda::DispatchKernelArgs args;
  args.dispatch = dispatch_args(shape_);
  args.dispatch.op.local = machines_.local(rank).data();
  args.machine = machines_.machine(rank);
  args.machine.shared = cuda::shared_map_of(args.dispatch);
  return args;
}

cuda::CombineKernelArgs GpuRanks::combine_args(int rank) const {
  cuda::CombineKernelArgs args;
  args.combine = gpu_test::combine_args(shape_);
  args.combine.op.local = machines_.local(rank).data();
  args.machine = machines_.machine(rank);
  args.machine.shared = cuda::shared_map_of(args.combine);
  return args;
}

std::vector<std::byte> GpuRanks::local(int rank) const {
  const DeviceMemory& local = machines_.local(rank);
  std::vector<std::byte> copy(static_cast<std::size_t>(local.bytes()));
  local.download(copy.data());
  return copy;
}

GpuOperation::GpuOperation(const CaseShape& shape, const RankInput& input, int device)
    : shape_(shape), device_(device) {
  const auto given = [device](const auto& values) {
    // At least a byte, so that an empty rank has pointers too.
    const auto bytes = static_cast<std::int64_t>(values.size() * sizeof(values[0]));
    auto memory = std::make_unique<DeviceMemory>(max_of(bytes, std::int64_t{1}), device);
    if (bytes > 0) memory->upload(values.data());
    return memory;
  };
  x_ = given(input.x);
  topk_ = given(input.topk);
  weights_ = given(input.weights);
  out_x_ = std::make_unique<DeviceMemory>(shape.data_bytes(), device);
  out_scales_ =
      std::make_unique<DeviceMemory>(max_of(shape.scale_bytes(), std::int64_t{1}), device);
  out_counts_ = std::make_unique<DeviceMemory>(shape.num_experts / shape.num_ranks * 4, device);
  poison();
}

void GpuOperation::poison() {
  out_x_->poison();
  out_scales_->poison();
  out_counts_->poison();
  if (combined_ != nullptr) combined_->poison();
}

void GpuOperation::give_rows(const std::uint16_t* rows) {
  rows_ = std::make_unique<DeviceMemory>(shape_.expert_bytes(), device_);
  if (rows != nullptr) rows_->upload(rows);
  combined_ =
      std::make_unique<DeviceMemory>(max_of(shape_.token_bytes(), std::int64_t{1}), device_);
  combined_->poison();
}

void GpuOperation::give_rows_of(const GpuOperation& other) {
  give_rows(nullptr);
  check(cudaMemcpy(rows_->data(), other.rows_->data(), static_cast<std::size_t>(rows_->bytes()),
                   cudaMemcpyDeviceToDevice),
        "cudaMemcpy");
}

void GpuOperation::bind(protocol::CombineArgs& args) const {
  args.topk.idx = topk_->data();
  args.weights = reinterpret_cast<const float*>(weights_->data());
  args.x = reinterpret_cast<const std::uint16_t*>(rows_->data());
  args.out = reinterpret_cast<std::uint16_t*>(combined_->data());
}

std::vector<std::uint16_t> GpuOperation::combined() const {
  std::vector<std::uint16_t> copy(static_cast<std::size_t>(combined_->bytes() / 2));
  if (shape_.num_tokens > 0) combined_->download(copy.data());
  return copy;
}

void GpuOperation::bind(protocol::DispatchArgs& args) const {
  args.x = reinterpret_cast<const std::uint16_t*>(x_->data());
  args.topk.idx = topk_->data();
  args.weights = reinterpret_cast<const float*>(weights_->data());
  args.out_x = out_x_->data();
  args.out_scales = out_scales_->data();
  args.out_counts = reinterpret_cast<std::int32_t*>(out_counts_->data());
}

RankOutput GpuOperation::output(const GpuRanks& ranks, int rank) const {
  RankOutput output;
  output.x.resize(static_cast<std::size_t>(out_x_->bytes()));
  output.scales.resize(static_cast<std::size_t>(out_scales_->bytes()));
  output.counts.resize(static_cast<std::size_t>(shape_.num_experts / shape_.num_ranks));
  out_x_->download(output.x.data());
  out_scales_->download(output.scales.data());
  out_counts_->download(output.counts.data());
  output.local = ranks.local(rank);
  return output;
}

}  // namespace braid::gpu_test
