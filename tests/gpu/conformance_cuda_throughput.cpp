// The conformance suite of high throughput on GPUs: ranks of one process, that share a device or
// have one each; and a whole pass as a graph.
#include <cuda_runtime_api.h>
#include <gtest/gtest.h>

#include <functional>
#include <stdexcept>
#include <string>
#include <tuple>
#include <vector>

#include "backend/cuda/device.hpp"
#include "braid/error.hpp"
#include "codec/bfloat16.hpp"
#include "conformance/memory.hpp"
#include "conformance/throughput_case.hpp"
#include "conformance/throughput_oracle.hpp"
#include "conformance/throughput_suites.hpp"
#include "gpu/cuda_ranks.hpp"
#include "support/ranks.hpp"

namespace braid::conformance {
namespace {

void run_on_gpus(int num_ranks, Spread spread, const std::function<void(Group&)>& part) {
  const Ranks ranks = cuda_ranks(num_ranks, spread);
  expect_no_failure(testing::run_ranks(ranks.topology, ranks.options, part));
}

class CudaThroughput : public ::testing::TestWithParam<std::tuple<int, Spread>> {
 protected:
  void SetUp() override {
    if (std::get<1>(GetParam()) == Spread::kAllDevices && cuda::num_devices() < 2) {
      GTEST_SKIP() << "one device is visible";
    }
  }
  static void run(void (*part)(Group&)) {
    run_on_gpus(std::get<0>(GetParam()), std::get<1>(GetParam()), part);
  }
};

TEST_P(CudaThroughput, EveryCaseIsBitEqualToTheOracle) { run(run_throughput_cases); }

TEST_P(CudaThroughput, HandlesTakeTurns) { run(run_throughput_handles_in_turn); }

TEST_P(CudaThroughput, TheExpandedFormIsBitEqualToTheOracle) { run(run_throughput_expanded); }

TEST_P(CudaThroughput, GradientsAreThoseOfOneDevice) { run(run_throughput_gradients); }

TEST_P(CudaThroughput, GradientsOfRowsByExpertAreThoseOfOneDevice) {
  run(run_throughput_expanded_gradients);
}

TEST_P(CudaThroughput, TwentyRepeatsAreBitEqual) { run(run_throughput_repeats); }

TEST_P(CudaThroughput, ChunksMayBeFullOrNot) { run(run_throughput_sizes); }

INSTANTIATE_TEST_SUITE_P(
    Conformance, CudaThroughput,
    ::testing::Combine(::testing::Values(1, 2, 3, 4, 8),
                       ::testing::Values(Spread::kOneDevice, Spread::kAllDevices)),
    [](const auto& instance) {
      return "ranks" + std::to_string(std::get<0>(instance.param)) +
             (std::get<1>(instance.param) == Spread::kOneDevice ? "_one_device" : "_all_devices");
    });

void check_cuda(cudaError_t status) {
  if (status != cudaSuccess) throw std::runtime_error(cudaGetErrorString(status));
}

// Layout, dispatch and combine of one rank, with outputs for the worst case.
struct Pass {
  Pass(Group& group, RankMemory& memory)
      : input(input_of({group.topology(), Routing::kFull, 5, kThroughputTokens}, group.rank())),
        x(memory, input.x),
        idx(memory, input.topk_idx),
        rows(memory,
             std::vector<std::uint16_t>(static_cast<std::size_t>(capacity(group) * kHidden), 0)),
        out(memory, std::vector<std::uint16_t>(input.x.size(), 0)) {}

  static std::int64_t capacity(const Group& group) {
    return std::int64_t{group.topology().num_ranks} * kThroughputTokens;
  }
  Tensor x_view() { return {x.data(), DType::kBFloat16, {input.num_tokens, kHidden}}; }
  ThroughputHandle enqueue(HighThroughputBuffer& buffer, Stream& stream) {
    const std::int64_t n = input.num_tokens;
    const Tensor rows_view(rows.data(), DType::kBFloat16, {capacity(buffer.group()), kHidden});
    const ThroughputHandle handle =
        buffer.layout({idx.data(), DType::kInt32, {n, kTopK}}, {}, stream);
    buffer.dispatch(handle, {x_view(), {}, {}}, {rows_view, {}, {}, {}}, {}, stream);
    buffer.combine(handle, {rows_view, {}}, {{out.data(), DType::kBFloat16, {n, kHidden}}, {}}, {},
                   stream);
    return handle;
  }
  // Each row comes home from each of the token's ranks as it went out.
  void require_home(const std::string& when) {
    out.download();
    for (int token = 0; token < input.num_tokens; ++token) {
      const auto ranks = static_cast<float>(ranks_of_token(input, token).size());
      for (int i = 0; i < kHidden; ++i) {
        const auto at = static_cast<std::size_t>(token * kHidden + i);
        float sum = 0.0F;
        for (float rank = 0; rank < ranks; ++rank) sum += codec::bf16_to_float(input.x[at]);
        if (out.host[at] != codec::sum_to_bf16(sum)) throw std::runtime_error(when + ": wrong");
      }
    }
  }

  RankInput input;
  Mirror<std::uint16_t> x;
  Mirror<std::int32_t> idx;
  Mirror<std::uint16_t> rows, out;
};

void expect_refused(const std::function<void()>& call) {
  try {
    call();
    ADD_FAILURE() << "nothing was thrown";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kRefused) << error.what();
  }
}

TEST(CudaThroughputGraph, APassIsReplayedAmongPlainCalls) {
  run_on_gpus(2, Spread::kOneDevice, [](Group& group) {
    RankMemory memory(group);
    check_cuda(cudaSetDevice(group.device()));
    cudaStream_t raw = nullptr;
    check_cuda(cudaStreamCreateWithFlags(&raw, cudaStreamNonBlocking));
    Stream stream = Stream::from_cuda(raw, group.device());
    Pass plain(group, memory), captured(group, memory);
    HighThroughputBuffer buffer(group, throughput_options(group.topology()));
    plain.enqueue(buffer, stream);
    stream.synchronize();
    plain.require_home("before the graph");
    group.barrier();  // a graph is made while nobody waits: that may allocate

    cudaGraph_t graph = nullptr;
    cudaGraphExec_t executable = nullptr;
    check_cuda(cudaStreamBeginCapture(raw, cudaStreamCaptureModeThreadLocal));
    const ThroughputHandle handle = captured.enqueue(buffer, stream);
    expect_refused([&] { buffer.received(handle); });
    check_cuda(cudaStreamEndCapture(raw, &graph));
    check_cuda(cudaGraphInstantiate(&executable, graph, 0));
    check_cuda(cudaGraphUpload(executable, raw));
    stream.synchronize();
    expect_refused([&] {
      buffer.dispatch_in_place(handle, {captured.x_view(), {}, {}}, {}, {}, stream);
    });
    group.barrier();
    for (int i = 0; i < 5; ++i) {
      check_cuda(cudaGraphLaunch(executable, raw));
      stream.synchronize();
      captured.require_home("launch " + std::to_string(i));
      plain.enqueue(buffer, stream);
      stream.synchronize();
      plain.require_home("after launch " + std::to_string(i));
    }
    group.barrier();
    check_cuda(cudaGraphExecDestroy(executable));
    check_cuda(cudaGraphDestroy(graph));
    check_cuda(cudaStreamDestroy(raw));
  });
}

}  // namespace
}  // namespace braid::conformance
