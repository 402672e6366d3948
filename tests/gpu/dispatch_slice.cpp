// One dispatch between two ranks on one GPU, timed: the generic roles, in one launch and in two,
// beside a kernel that was written for this job alone. Prints a line of JSON for each figure.
//
//   dispatch_slice [--replays N]
//
// Inputs and outputs rotate over more memory than the second-level cache holds; the ranks' blocks
// are on one GPU, so no link is crossed. Every variant is held against the CPU backend first.
#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <functional>
#include <string>

#include "backend/cuda/launch.hpp"
#include "base/check.hpp"
#include "gpu/gpu_ranks.hpp"
#include "gpu/slice_kernels.hpp"

namespace braid::gpu_test {
namespace {

using cuda::check;

constexpr int kWorkers = 64;  // of each rank; both fit on an H100's 132 SMs at a block a SM
constexpr std::int64_t kTimeoutNs = 2'000'000'000;

struct Variant {
  const char* name;
  std::function<void(const PairArgs&, cudaStream_t)> launch;
  bool works;    // false: it does nothing, to show what a launch costs
  bool stamped;  // it notes times inside
};

void launch_two(const PairArgs& args, cudaStream_t stream) {
  for (const cuda::DispatchKernelArgs& rank : args.rank) cuda::launch_dispatch_send(rank, stream);
  for (const cuda::DispatchKernelArgs& rank : args.rank) {
    cuda::launch_dispatch_receive(rank, stream);
  }
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

class Slice {
 public:
  explicit Slice(int tokens)
      : sets_(tokens > 64 ? 6 : 48), ranks_(shape_of(tokens, 0), kWorkers, kTimeoutNs) {
    check(cudaStreamCreate(&stream_), "cudaStreamCreate");
    for (int set = 0; set < sets_; ++set) {
      const CaseShape shape = shape_of(tokens, set);
      const auto inputs = make_inputs(shape);
      shapes_.push_back(shape);
      expected_.push_back(reference(shape, inputs));
      PairArgs pair;
      for (int rank = 0; rank < 2; ++rank) {
        operations_.push_back(
            std::make_unique<GpuOperation>(shape, inputs[static_cast<std::size_t>(rank)]));
        pair.rank[rank] = ranks_.args(rank);
        operations_.back()->bind(pair.rank[rank].dispatch);
      }
      pairs_.push_back(pair);
    }
  }
  ~Slice() { cudaStreamDestroy(stream_); }
  Slice(const Slice&) = delete;
  Slice& operator=(const Slice&) = delete;

  void verify(const Variant& variant) {
    for (std::size_t set = 0; set < pairs_.size(); ++set) {
      for (std::size_t rank = 0; rank < 2; ++rank) operations_[2 * set + rank]->poison();
      variant.launch(pairs_[set], stream_);
      synchronize(variant.name);
      for (std::size_t rank = 0; rank < 2; ++rank) {
        const int index = static_cast<int>(rank);
        const std::string found = difference(
            shapes_[set], operations_[2 * set + rank]->output(ranks_, index), expected_[set][rank]);
        if (!found.empty()) {
          fail(ErrorCode::kInternal, "{}, set {}, rank {}: {}", variant.name, set, rank, found);
        }
      }
    }
  }

  // Microseconds of one operation, replay by replay of a graph of all sets.
  std::vector<double> time(const Variant& variant, int replays) {
    cudaGraph_t graph = nullptr;
    cudaGraphExec_t executable = nullptr;
    check(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeGlobal), "cudaStreamBeginCapture");
    for (const PairArgs& pair : pairs_) variant.launch(pair, stream_);
    check(cudaStreamEndCapture(stream_, &graph), "cudaStreamEndCapture");
    check(cudaGraphInstantiate(&executable, graph, 0), "cudaGraphInstantiate");
    std::vector<double> times;
    cudaEvent_t begin = nullptr, end = nullptr;
    check(cudaEventCreate(&begin), "cudaEventCreate");
    check(cudaEventCreate(&end), "cudaEventCreate");
    for (int replay = -20; replay < replays; ++replay) {
      check(cudaEventRecord(begin, stream_), "cudaEventRecord");
      check(cudaGraphLaunch(executable, stream_), "cudaGraphLaunch");
      check(cudaEventRecord(end, stream_), "cudaEventRecord");
      synchronize(variant.name);
      float ms = 0;
      check(cudaEventElapsedTime(&ms, begin, end), "cudaEventElapsedTime");
      if (replay >= 0) times.push_back(1e3 * static_cast<double>(ms) / sets_);
    }
    cudaEventDestroy(begin);
    cudaEventDestroy(end);
    cudaGraphExecDestroy(executable);
    cudaGraphDestroy(graph);
    return times;
  }

  // Median over the sets: nanoseconds inside the kernel, from the first block's start to the last
  // one's end.
  double inside_ns(const Variant& variant) {
    DeviceMemory stamps(2 * kWorkers * kStamps * 8);
    std::vector<double> whole;
    for (PairArgs pair : pairs_) {
      pair.stamps = reinterpret_cast<std::uint64_t*>(stamps.data());
      variant.launch(pair, stream_);
      synchronize(variant.name);
      std::vector<std::uint64_t> seen(2 * kWorkers * kStamps);
      stamps.download(seen.data());
      std::uint64_t first = ~std::uint64_t{0}, last = 0;
      for (std::size_t i = 0; i < seen.size(); i += kStamps) {
        first = std::min(first, seen[i]);
        last = std::max(last, seen[i + 1]);
      }
      whole.push_back(static_cast<double>(last - first));
    }
    return median(whole);
  }

  int sets() const { return sets_; }

 private:
  static CaseShape shape_of(int tokens, int set) {
    CaseShape shape;
    shape.max_tokens = tokens;
    shape.num_tokens = tokens;
    shape.seed = static_cast<std::uint32_t>(set) + 1;
    return shape;
  }

  void synchronize(const char* what) {
    check(cudaStreamSynchronize(stream_), what);
    for (int rank = 0; rank < 2; ++rank) {
      const machine::TimeoutRecord& timeout = ranks_.timeout(rank);
      if (timeout.state == 0) continue;
      fail(ErrorCode::kTimeout,
           "{}: rank {} waited for rank {} in operation {}: epoch {}, saw {:x}", what, rank,
           timeout.tag.peer, static_cast<int>(timeout.tag.operation), timeout.expected_epoch,
           timeout.seen);
    }
  }

  int sets_;
  GpuRanks ranks_;
  cudaStream_t stream_ = nullptr;
  std::vector<CaseShape> shapes_;
  std::vector<std::vector<RankOutput>> expected_;
  std::vector<std::unique_ptr<GpuOperation>> operations_;
  std::vector<PairArgs> pairs_;
};

void run(int tokens, int replays, const char* gpu) {
  const Variant variants[] = {{"generic", launch_generic_pair, true, true},
                              {"generic_fixed_shape", launch_fixed_pair, true, true},
                              {"specialized", launch_specialized_pair, true, true},
                              {"generic_two_launches_a_rank", launch_two, true, false},
                              {"empty", launch_empty_pair, false, false}};
  Slice slice(tokens);
  for (const Variant& variant : variants) {
    if (variant.works) slice.verify(variant);
  }
  for (int pass = 0; pass < 2; ++pass) {  // twice: the spread between passes is the noise
    for (const Variant& variant : variants) {
      const std::vector<double> times = slice.time(variant, replays);
      fmt::print(
          R"({{"bench": "dispatch_slice", "gpu": "{}", "ranks": "2 on one GPU", "tokens": {}, )"
          R"("hidden": 7168, "top_k": 8, "experts": 64, "format": "fp8", "sms_per_rank": {}, )"
          R"("variant": "{}", "pass": {}, "sets": {}, "p50_us": {:.2f}, "min_us": {:.2f}{}}})"
          "\n",
          gpu, tokens, kWorkers, variant.name, pass, slice.sets(), median(times),
          *std::min_element(times.begin(), times.end()),
          variant.stamped ? fmt::format(R"(, "inside_us": {:.2f})", slice.inside_ns(variant) / 1e3)
                          : "");
      std::fflush(stdout);
    }
  }
}

}  // namespace
}  // namespace braid::gpu_test

int main(int argc, char** argv) {
  int devices = 0;
  if (cudaGetDeviceCount(&devices) != cudaSuccess || devices == 0) {
    fmt::print(stderr, "dispatch_slice: there is no CUDA GPU here\n");
    return 1;
  }
  const int replays = argc == 3 && std::string(argv[1]) == "--replays" ? std::atoi(argv[2]) : 200;
  try {
    cudaDeviceProp properties{};
    braid::cuda::check(cudaGetDeviceProperties(&properties, 0), "cudaGetDeviceProperties");
    for (const int tokens : {128, 8}) braid::gpu_test::run(tokens, replays, properties.name);
  } catch (const braid::Error& error) {
    fmt::print(stderr, "dispatch_slice: {}\n", error.what());
    return 1;
  }
  return 0;
}
