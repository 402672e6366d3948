// Two ranks on one GPU, or on two where there are two: every token goes to the ranks of its experts
// and comes home weighted, by a CUDA graph that is launched again and again. The ranks are threads
// of this process, or processes with a GPU each, from the variables that torchrun sets:
//   torchrun --no-python --nproc-per-node 2 example_gpu processes
#include <cuda_runtime_api.h>
#include <braid/buffer.hpp>

#include <cstdint>
#include <cstdio>
#include <exception>
#include <stdexcept>
#include <thread>
#include <vector>

namespace {

constexpr int kRanks = 2, kExperts = 8, kTokens = 2, kHidden = 128, kTopK = 2;
constexpr int kLaunches = 10;
constexpr int kLocal = kExperts / kRanks, kCapacity = kRanks * kTokens;
constexpr std::uint16_t kOne = 0x3F80;  // 1.0 as BF16

void check(cudaError_t status) {
  if (status != cudaSuccess) throw std::runtime_error(cudaGetErrorString(status));
}

// An array in the current device's memory. The ranks share a device, and each waits for the other's
// operations: all memory is allocated before the first one, and freed after the last.
template <class T>
class OnDevice {
 public:
  explicit OnDevice(const std::vector<T>& values) : bytes_(values.size() * sizeof(T)) {
    check(cudaMalloc(&data_, bytes_));
    check(cudaMemcpy(data_, values.data(), bytes_, cudaMemcpyHostToDevice));
  }
  ~OnDevice() { cudaFree(data_); }
  OnDevice(const OnDevice&) = delete;
  OnDevice& operator=(const OnDevice&) = delete;
  void* data() const { return data_; }
  std::vector<T> values() const {
    std::vector<T> copy(bytes_ / sizeof(T));
    check(cudaMemcpy(copy.data(), data_, bytes_, cudaMemcpyDeviceToHost));
    return copy;
  }

 private:
  std::size_t bytes_;
  void* data_ = nullptr;
};

// Returns how many channels of this rank's tokens came home wrong.
int run_rank(braid::Group& group) {
  check(cudaSetDevice(group.device()));
  const int first = group.rank() * kLocal;  // an expert of this rank, and one of the next
  const int second = (first + kLocal) % kExperts;
  const OnDevice<std::uint16_t> x(std::vector<std::uint16_t>(kTokens * kHidden, kOne));
  const OnDevice<std::uint16_t> out(std::vector<std::uint16_t>(kTokens * kHidden));
  const OnDevice<std::int32_t> experts(std::vector<std::int32_t>{first, second, first, second});
  const OnDevice<float> weights(std::vector<float>{0.75F, 0.25F, 0.75F, 0.25F});
  const OnDevice<std::uint16_t> rows(std::vector<std::uint16_t>(kLocal * kCapacity * kHidden));
  const OnDevice<std::int32_t> counts{std::vector<std::int32_t>(kLocal)};
  const braid::Tensor rows_view(rows.data(), braid::DType::kBFloat16, {kLocal, kCapacity, kHidden});
  braid::DispatchInput input;
  input.x = {x.data(), braid::DType::kBFloat16, {kTokens, kHidden}};
  input.topk_idx = {experts.data(), braid::DType::kInt32, {kTokens, kTopK}};
  braid::DispatchOutput output;
  output.x = rows_view;
  output.counts = {counts.data(), braid::DType::kInt32, {kLocal}};
  braid::DispatchOptions bf16;
  bf16.format = braid::DispatchFormat::kBf16;
  braid::CombineInput outputs_of_experts;
  outputs_of_experts.x = rows_view;
  outputs_of_experts.topk_weights = {weights.data(), braid::DType::kFloat32, {kTokens, kTopK}};
  braid::CombineOutput home;
  home.x = {out.data(), braid::DType::kBFloat16, {kTokens, kHidden}};

  braid::BufferOptions options;
  options.num_experts = kExperts;
  options.max_tokens = kTokens;
  options.hidden = kHidden;
  options.top_k = kTopK;

  cudaStream_t mine = nullptr;  // stays the caller's; group.make_stream() would make one
  check(cudaStreamCreateWithFlags(&mine, cudaStreamNonBlocking));
  braid::Stream stream = braid::Stream::from_cuda(mine, group.device());
  braid::Buffer buffer(group, options);  // collective

  cudaGraph_t graph = nullptr;
  cudaGraphExec_t executable = nullptr;
  check(cudaStreamBeginCapture(mine, cudaStreamCaptureModeThreadLocal));
  const braid::Handle handle = buffer.dispatch(input, output, bf16, stream);
  // The experts' kernels would run here, on the same stream. These ones return what they get.
  buffer.combine(handle, outputs_of_experts, home, {}, stream);
  check(cudaStreamEndCapture(mine, &graph));
  check(cudaGraphInstantiate(&executable, graph, 0));
  // Not at its first launch, where it might wait for the device, and so for the other rank.
  check(cudaGraphUpload(executable, mine));
  stream.synchronize();
  group.barrier();

  for (int i = 0; i < kLaunches; ++i) check(cudaGraphLaunch(executable, mine));
  stream.synchronize();  // throws what the operations failed with

  group.barrier();  // nobody waits for anybody any more
  int wrong = 0;
  for (const std::uint16_t value : out.values()) wrong += value != kOne;  // 0.75 * 1 + 0.25 * 1
  cudaGraphExecDestroy(executable);
  cudaGraphDestroy(graph);
  return wrong;
}

// This process's ranks.
std::vector<braid::Group> make_groups(bool threads) {
  braid::GroupOptions options;
  options.backend = braid::Backend::kCuda;
  // Rank r's device is r, modulo their number. {0, 0} would have two threads share one.
  options.devices = {};
  if (threads) return braid::Group::threads({kRanks, kRanks}, options);
  // A process for each rank, with a GPU of its own. libnccl maps their memory, and does no more.
  return {braid::Group::from_environment(options)};
}

}  // namespace

int main(int argc, char**) {
  try {
    std::vector<braid::Group> groups = make_groups(argc == 1);
    std::vector<int> wrong(groups.size(), -1);
    std::vector<std::thread> threads;
    for (std::size_t rank = 0; rank < groups.size(); ++rank) {
      threads.emplace_back([&, rank] {
        try {
          wrong[rank] = run_rank(groups[rank]);
        } catch (const std::exception& error) {
          std::fprintf(stderr, "rank %d: %s\n", groups[rank].rank(), error.what());
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    for (const int count : wrong) {
      if (count != 0) return 1;
    }
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
  std::puts("every token came home");
  return 0;
}
