#include "gpu/gpu_ranks.hpp"

#include "backend/cuda/launch.hpp"

namespace braid::gpu_test {

using cuda::check;

DeviceMemory::DeviceMemory(std::int64_t bytes) : bytes_(bytes) {
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

GpuRanks::GpuRanks(const CaseShape& shape, int num_workers, std::int64_t timeout_ns)
    : shape_(shape), num_workers_(num_workers), timeout_ns_(timeout_ns) {
  const protocol::DispatchArgs args = dispatch_args(shape);
  std::vector<std::byte*> peers;
  for (int rank = 0; rank < shape.num_ranks; ++rank) {
    blocks_.push_back(std::make_unique<DeviceMemory>(args.op.map.total_bytes));
    peers.push_back(blocks_.back()->data());
    locals_.push_back(std::make_unique<DeviceMemory>(args.op.local_map.total_bytes));
    locals_.back()->upload(fresh_local(args.op.local_map).data());
    statuses_.push_back(
        std::make_unique<DeviceMemory>(static_cast<std::int64_t>(sizeof(cuda::RankStatus))));
  }
  peers_ = std::make_unique<DeviceMemory>(static_cast<std::int64_t>(peers.size() * sizeof(void*)));
  peers_->upload(peers.data());
  void* timeouts = nullptr;
  const std::size_t bytes = peers.size() * sizeof(machine::TimeoutRecord);
  check(cudaHostAlloc(&timeouts, bytes, cudaHostAllocMapped), "cudaHostAlloc");
  timeouts_ = new (timeouts) machine::TimeoutRecord[peers.size()];
}
GpuRanks::~GpuRanks() { cudaFreeHost(timeouts_); }

cuda::DispatchKernelArgs GpuRanks::args(int rank) const {
  const auto at = static_cast<std::size_t>(rank);
  cuda::DispatchKernelArgs args;
  args.dispatch = dispatch_args(shape_);
  args.dispatch.op.local = locals_[at]->data();
  args.machine.rank = rank;
  args.machine.num_workers = num_workers_;
  args.machine.peers = reinterpret_cast<std::byte* const*>(peers_->data());
  args.machine.local = blocks_[at]->data();
  args.machine.status = reinterpret_cast<cuda::RankStatus*>(statuses_[at]->data());
  args.machine.timeout = timeouts_ + rank;  // unified addressing: the device's pointer too
  args.machine.timeout_ns = timeout_ns_;
  args.machine.shared = cuda::shared_map_of(args.dispatch);
  return args;
}

std::vector<std::byte> GpuRanks::local(int rank) const {
  const DeviceMemory& local = *locals_[static_cast<std::size_t>(rank)];
  std::vector<std::byte> copy(static_cast<std::size_t>(local.bytes()));
  local.download(copy.data());
  return copy;
}

GpuOperation::GpuOperation(const CaseShape& shape, const RankInput& input) : shape_(shape) {
  const auto given = [](const auto& values) {
    // At least a byte, so that an empty rank has pointers too.
    const auto bytes = static_cast<std::int64_t>(values.size() * sizeof(values[0]));
    auto memory = std::make_unique<DeviceMemory>(max_of(bytes, std::int64_t{1}));
    if (bytes > 0) memory->upload(values.data());
    return memory;
  };
  x_ = given(input.x);
  topk_ = given(input.topk);
  weights_ = given(input.weights);
  out_x_ = std::make_unique<DeviceMemory>(shape.data_bytes());
  out_scales_ = std::make_unique<DeviceMemory>(max_of(shape.scale_bytes(), std::int64_t{1}));
  out_counts_ = std::make_unique<DeviceMemory>(shape.num_experts / shape.num_ranks * 4);
  poison();
}

void GpuOperation::poison() {
  out_x_->poison();
  out_scales_->poison();
  out_counts_->poison();
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
