// The conformance suite on GPUs: ranks of one process, that share a device or have one each; how
// operations fail there; graphs.
#include <cuda_runtime_api.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <functional>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "backend/cuda/device.hpp"
#include "backend/cuda/stream.hpp"
#include "conformance/suites.hpp"
#include "gpu/cuda_ranks.hpp"
#include "gpu/device_io.hpp"

namespace braid::conformance {
namespace {

using ::testing::HasSubstr;

void check_cuda(cudaError_t status) {
  if (status != cudaSuccess) throw std::runtime_error(cudaGetErrorString(status));
}

// The caller's, outside of Braid.
struct OwnStream {
  explicit OwnStream(int device) {
    check_cuda(cudaSetDevice(device));
    check_cuda(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
  }
  ~OwnStream() { cudaStreamDestroy(stream); }
  OwnStream(const OwnStream&) = delete;
  OwnStream& operator=(const OwnStream&) = delete;
  cudaStream_t stream = nullptr;
};

// As Stream::synchronize, without what Braid has to say.
void await(const Stream& stream) {
  check_cuda(cudaStreamSynchronize(static_cast<cuda::CudaStream&>(*stream.backend()).stream()));
}

class Cuda : public ::testing::TestWithParam<std::tuple<int, Spread>> {
 protected:
  void SetUp() override {
    if (std::get<1>(GetParam()) == Spread::kAllDevices && cuda::num_devices() < 2) {
      GTEST_SKIP() << "one device is visible";
    }
  }
  static Ranks ranks() { return cuda_ranks(std::get<0>(GetParam()), std::get<1>(GetParam())); }
};

TEST_P(Cuda, EveryCaseIsBitEqualToTheOracle) { expect_no_failure(every_case(ranks())); }

TEST_P(Cuda, TwoDispatchesBeforeTheFirstHook) {
  expect_no_failure(two_dispatches_before_the_first_hook(ranks()));
}

TEST_P(Cuda, EachRoundGoesHomeBeforeTheNextArrives) {
  expect_no_failure(each_round_goes_home_before_the_next_arrives(ranks()));
}

TEST_P(Cuda, AllEmptyRanksForAHundredEpochs) {
  expect_no_failure(all_empty_ranks_for_a_hundred_epochs(ranks()));
}

TEST_P(Cuda, AnyAllowedOrderGivesTheOraclesBits) {
  for (const int depth : {1, 2, 3}) expect_no_failure(random_schedule(ranks(), depth, 1000));
}

// Copies from another stream make rows and raise signals while the sends wait.
TEST_P(Cuda, BlockSignalsGiveTheOraclesBitsInWhateverOrderBlocksAreMade) {
  expect_no_failure(block_signals(ranks()));
}

// The budgets that nobody named: all SMs, by one launch an operation.
TEST_P(Cuda, PairsWithDefaultBudgets) {
  const Ranks here = ranks();
  expect_no_failure(testing::run_ranks(here.topology, here.options, [&](Group& group) {
    RankMemory memory(group);
    Stream streams[] = {group.make_stream(), group.make_stream()};
    Buffer buffer(group, small_options(here.topology));
    DeviceIo io(memory, here.topology);
    for (int i = 0; i < 20; ++i) {
      io.set_x(i % 5);
      enqueue_pair(buffer, io, streams[i % 2]);
      streams[i % 2].synchronize();
      require_home(io, "pair " + std::to_string(i));
    }
  }));
}

INSTANTIATE_TEST_SUITE_P(
    Conformance, Cuda,
    ::testing::Combine(::testing::Values(1, 2, 4, 8),
                       ::testing::Values(Spread::kOneDevice, Spread::kAllDevices)),
    [](const auto& instance) {
      return "ranks" + std::to_string(std::get<0>(instance.param)) +
             (std::get<1>(instance.param) == Spread::kOneDevice ? "_one_device" : "_all_devices");
    });

TEST(CudaGraph, APairReplayedAmongPlainCallsGivesTheSame) {
  const Ranks ranks = cuda_ranks(2);
  expect_no_failure(testing::run_ranks(ranks.topology, ranks.options, [&](Group& group) {
    RankMemory memory(group);
    const OwnStream own(group.device());
    const cudaStream_t raw = own.stream;
    Stream stream = Stream::from_cuda(raw, group.device());
    Buffer buffer(group, small_options(ranks.topology));
    DeviceIo plain(memory, ranks.topology), captured(memory, ranks.topology);
    enqueue_pair(buffer, plain, stream);
    stream.synchronize();
    require_home(plain, "before the graph");
    group.barrier();  // a graph is made while nobody waits: that may allocate

    cudaGraph_t graph = nullptr;
    cudaGraphExec_t executable = nullptr;
    check_cuda(cudaStreamBeginCapture(raw, cudaStreamCaptureModeThreadLocal));
    const Handle handle = enqueue_pair(buffer, captured, stream);
    EXPECT_THROW(stream.run([] {}), Error);
    EXPECT_THROW(stream.synchronize(), Error);
    EXPECT_THROW(stream.record().wait(), Error);
    check_cuda(cudaStreamEndCapture(raw, &graph));
    check_cuda(cudaGraphInstantiate(&executable, graph, 0));
    // Not at its first launch: the upload may wait for the device, and so for the other rank.
    check_cuda(cudaGraphUpload(executable, raw));
    stream.synchronize();
    group.barrier();

    for (int i = 0; i < 20; ++i) {
      captured.set_x(i % 7);
      plain.set_x(i % 3);
      check_cuda(cudaGraphLaunch(executable, raw));
      if (i % 2 == 0) enqueue_pair(buffer, plain, stream);
      if (i % 5 == 0) check_cuda(cudaGraphLaunch(executable, raw));
      stream.synchronize();
      require_home(captured, "graph " + std::to_string(i));
      if (i % 2 == 0) require_home(plain, "plain " + std::to_string(i));
    }
    group.barrier();
    cudaGraphExecDestroy(executable);
    cudaGraphDestroy(graph);
  }));
}

TEST(CudaFails, ARankThatIsLeftOutIsNamedAndTheContextLivesOn) {
  for (const int num_ranks : {2, 4}) {
    const Ranks ranks = cuda_ranks(num_ranks, Spread::kOneDevice, 1000);
    const auto failures = testing::run_ranks(ranks.topology, ranks.options, [&](Group& group) {
      RankMemory memory(group);
      Stream stream = group.make_stream();
      Buffer buffer(group, small_options(ranks.topology));
      DeviceIo io(memory, ranks.topology);
      if (group.rank() == 1) return;  // never dispatches
      const Handle handle = buffer.dispatch(io.io.input, io.io.output, io.io.options, stream);
      const Event event = stream.record();
      EXPECT_THROW(event.wait(), Error);
      EXPECT_THROW(group.check(), Error);
      EXPECT_THROW(buffer.dispatch_begin(io.io.input, io.io.output, io.io.options), Error);
      try {
        stream.synchronize();
      } catch (const Error& error) {
        EXPECT_TRUE(error.code() == ErrorCode::kTimeout || error.code() == ErrorCode::kPeerFailed);
        throw;
      }
    });
    for (int rank = 0; rank < num_ranks; ++rank) {
      const std::string& failure = failures[static_cast<std::size_t>(rank)];
      if (rank == 1) {
        EXPECT_EQ(failure, "");
        continue;
      }
      EXPECT_THAT(failure, HasSubstr("rank 1 did not answer"));
      EXPECT_THAT(failure, HasSubstr("dispatch receive, round 0"));
    }
    EXPECT_EQ(cudaDeviceSynchronize(), cudaSuccess);

    const Ranks again = cuda_ranks(num_ranks);
    expect_no_failure(testing::run_ranks(again.topology, again.options, [&](Group& group) {
      RankMemory memory(group);
      Stream stream = group.make_stream();
      Buffer buffer(group, small_options(again.topology));
      DeviceIo io(memory, again.topology);
      enqueue_pair(buffer, io, stream);
      stream.synchronize();
      require_home(io, "after the failure");
    }));
  }
}

TEST(CudaFails, ARankThatStopsBeforeCombineIsNamed) {
  const Ranks ranks = cuda_ranks(3, Spread::kOneDevice, 1000);
  const auto failures = testing::run_ranks(ranks.topology, ranks.options, [&](Group& group) {
    RankMemory memory(group);
    Stream stream = group.make_stream();
    Buffer buffer(group, small_options(ranks.topology));
    DeviceIo io(memory, ranks.topology);
    const Handle handle = buffer.dispatch(io.io.input, io.io.output, io.io.options, stream);
    stream.synchronize();
    if (group.rank() == 1) return;
    buffer.combine(handle, io.io.combine_input, io.io.combine_output, {}, stream);
    stream.synchronize();
  });
  for (const std::size_t rank : {0U, 2U}) {
    EXPECT_THAT(failures[rank], HasSubstr("rank 1 did not answer"));
    EXPECT_THAT(failures[rank], HasSubstr("combine"));
  }
}

TEST(CudaFails, ABlockThatIsNeverSignaledIsNamedOnEveryRank) {
  const Ranks ranks = cuda_ranks(2, Spread::kOneDevice, 1000);
  const auto failures = testing::run_ranks(ranks.topology, ranks.options, [&](Group& group) {
    RankMemory memory(group);
    Stream stream = group.make_stream();
    Buffer buffer(group, small_options(ranks.topology));
    DeviceIo device_io(memory, ranks.topology);
    Io& io = device_io.io;
    // Two rows of each of rank 0's experts 0 and 1, in blocks of one.
    std::vector<std::int32_t> counts(4 * 8, 3);
    counts[8 + 1] = 2;
    Mirror<std::int32_t> signals(memory, counts);
    io.combine_input.block_signals = {signals.data(), DType::kInt32, {4, 8}};
    io.combine_options.block_rows = 1;
    io.combine_options.signal_threshold = 3;
    const Handle handle = buffer.dispatch(io.input, io.output, io.options, stream);
    stream.synchronize();
    // The other's own deadline comes later.
    if (group.rank() == 1) std::this_thread::sleep_for(std::chrono::milliseconds(300));
    buffer.combine(handle, io.combine_input, io.combine_output, io.combine_options, stream);
    stream.synchronize();
  });
  const std::string missed =
      "block 1 of rank 0's local expert 1 was not signaled within 1.0 s in combine send, round 0 "
      "(expected signal 3";
  EXPECT_EQ(failures[0], missed + ", saw 2)");
  EXPECT_EQ(failures[1], "rank 1 ended its operations because rank 0 reported: " + missed + ")");
  EXPECT_EQ(cudaDeviceSynchronize(), cudaSuccess);
}

// A capture that was made invalid refuses every launch.
TEST(CudaFails, ALaunchThatIsRefusedEndsThePeersAtOnce) {
  const Ranks ranks = cuda_ranks(3, Spread::kOneDevice, 20000);
  const auto failures = testing::run_ranks(ranks.topology, ranks.options, [&](Group& group) {
    RankMemory memory(group);
    const OwnStream own(group.device());
    Stream stream = Stream::from_cuda(own.stream, group.device());
    Buffer buffer(group, small_options(ranks.topology));
    DeviceIo io(memory, ranks.topology);
    if (group.rank() == 1) {
      check_cuda(cudaStreamBeginCapture(own.stream, cudaStreamCaptureModeRelaxed));
      EXPECT_NE(cudaStreamSynchronize(own.stream), cudaSuccess);
      try {
        enqueue_pair(buffer, io, stream);
      } catch (const Error&) {
        cudaGraph_t graph = nullptr;
        EXPECT_NE(cudaStreamEndCapture(own.stream, &graph), cudaSuccess);
        cudaGetLastError();
        throw;
      }
      return;
    }
    const auto begin = std::chrono::steady_clock::now();
    const Handle handle = buffer.dispatch(io.io.input, io.io.output, io.io.options, stream);
    EXPECT_THROW(stream.synchronize(), Error);
    EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(10));
    stream.synchronize();
  });
  EXPECT_THAT(failures[1], HasSubstr("captur"));
  for (const std::size_t rank : {0U, 2U}) {
    EXPECT_THAT(failures[rank], HasSubstr("rank 1 reported that its own operations failed"));
  }
}

TEST(CudaRefused, WhatTheHostCanSee) {
  const Ranks ranks = cuda_ranks(1);
  expect_no_failure(testing::run_ranks(ranks.topology, ranks.options, [&](Group& group) {
    RankMemory memory(group);
    Buffer buffer(group, small_options(ranks.topology));
    DeviceIo device_io(memory, ranks.topology);
    Io& io = device_io.io;
    const Io on_host(ranks.topology);
    const auto refused = [](const std::function<void()>& call) {
      return error_of(call, ErrorCode::kInvalidArgument);
    };
    Stream cpu = Stream::cpu();
    EXPECT_THAT(refused([&] { buffer.dispatch(io.input, io.output, io.options, cpu); }),
                HasSubstr("the stream is of backend cpu"));
    DispatchOptions wide = io.options;
    wide.send_workers = 10000;
    EXPECT_THAT(refused([&] { buffer.dispatch_begin(io.input, io.output, wide); }),
                HasSubstr("send workers is 10000, but must be 1 to"));
    DispatchInput host_input = io.input;
    host_input.topk_idx.data = on_host.input.topk_idx.data;
    EXPECT_THAT(refused([&] { buffer.dispatch_begin(host_input, io.output, io.options); }),
                HasSubstr("topk_idx is at"));
    if (cuda::num_devices() > 1) {
      Stream far = Stream::cuda(1);
      EXPECT_THAT(refused([&] { buffer.dispatch(io.input, io.output, io.options, far); }),
                  HasSubstr("the stream is of CUDA device 1, but rank 0 computes on device 0"));
    }
    Stream stream = group.make_stream();
    EXPECT_THAT(refused([&] { stream.wait(cpu.record()); }), HasSubstr("of a CPU stream"));
    EXPECT_THAT(refused([&] { cpu.wait(stream.record()); }), HasSubstr("of a CUDA stream"));
    EXPECT_THAT(error_of([&] { (void)buffer.dispatch_traffic(); }, ErrorCode::kMissing),
                HasSubstr("traffic"));
    // The buffer lives on.
    enqueue_pair(buffer, device_io, stream);
    stream.synchronize();
    require_home(device_io, "after refusals");
  }));
}

// Where a bad top-k value may be heard of.
class CudaBadChoice : public ::testing::Test {
 protected:
  // Rank 0 is told of one by `hears`, which is given what throws; then all of it once more.
  using Hears = std::function<std::string(Buffer&, DeviceIo&, Stream&)>;
  static void expect_heard(const Hears& hears) {
    const Ranks ranks = cuda_ranks(2);
    expect_no_failure(testing::run_ranks(ranks.topology, ranks.options, [&](Group& group) {
      RankMemory memory(group);
      Stream stream = group.make_stream();
      Buffer buffer(group, small_options(ranks.topology));
      DeviceIo io(memory, ranks.topology);
      for (const int value : {999, -7}) {
        if (group.rank() == 0) io.set_choice(1, value);
        enqueue_pair(buffer, io, stream);
        if (group.rank() == 0) {
          EXPECT_EQ(hears(buffer, io, stream), "dispatch: topk_idx of token 0, choice 1 is " +
                                                   std::to_string(value) + ", but must be -1 to 7");
        }
        // Once.
        stream.synchronize();
        group.check();
        if (group.rank() == 0) io.set_choice(1, 1);
        io.set_x(1);
        enqueue_pair(buffer, io, stream);
        stream.synchronize();
        require_home(io, "after a bad value");
      }
    }));
  }
  static std::string refused(const std::function<void()>& call) {
    return error_of(call, ErrorCode::kInvalidArgument);
  }
};

TEST_F(CudaBadChoice, BySynchronize) {
  expect_heard(
      [](Buffer&, DeviceIo&, Stream& stream) { return refused([&] { stream.synchronize(); }); });
}

TEST_F(CudaBadChoice, ByAnEvent) {
  expect_heard([](Buffer&, DeviceIo&, Stream& stream) {
    const Event event = stream.record();
    return refused([&] { event.wait(); });
  });
}

TEST_F(CudaBadChoice, ByTheGroupsCheck) {
  expect_heard([](Buffer& buffer, DeviceIo&, Stream& stream) {
    await(stream);
    return refused([&] { buffer.group().check(); });
  });
}

TEST_F(CudaBadChoice, ByTheNextDispatchBeforeItBegins) {
  expect_heard([](Buffer& buffer, DeviceIo& io, Stream& stream) {
    await(stream);
    return refused([&] { buffer.dispatch(io.io.input, io.io.output, io.io.options, stream); });
  });
}

TEST(CudaBadChoices, AreNotThrownFromTheMiddleOfAnOperation) {
  const Ranks ranks = cuda_ranks(2);
  expect_no_failure(testing::run_ranks(ranks.topology, ranks.options, [&](Group& group) {
    RankMemory memory(group);
    Stream stream = group.make_stream();
    Buffer buffer(group, small_options(ranks.topology));
    DeviceIo device_io(memory, ranks.topology);
    Io& io = device_io.io;
    device_io.set_choice(0, 8);  // one more than there are
    const Handle handle = buffer.dispatch_begin(io.input, io.output, io.options);
    buffer.dispatch_send(handle, 0, stream);
    await(stream);
    group.barrier();
    buffer.dispatch_receive(handle, 0, stream);
    buffer.combine_begin(handle, io.combine_input, io.combine_output, io.combine_options);
    buffer.combine_send(handle, 0, stream);
    buffer.combine_receive(handle, stream);
    EXPECT_EQ(error_of([&] { stream.synchronize(); }, ErrorCode::kInvalidArgument),
              "dispatch: topk_idx of token 0, choice 0 is 8, but must be -1 to 7");
    stream.synchronize();
  }));
}

TEST(CudaRefused, DevicesThatAreNotThere) {
  const auto refused = [](const Ranks& ranks, ErrorCode code) {
    return error_of([&] { Group::threads(ranks.topology, ranks.options); }, code);
  };
  Ranks nodes = cuda_ranks(2);
  nodes.topology.ranks_per_node = 1;
  EXPECT_THAT(refused(nodes, ErrorCode::kMissing), HasSubstr("scale-out from GPUs"));
  Ranks far = cuda_ranks(1);
  far.options.devices = {1000};
  EXPECT_THAT(refused(far, ErrorCode::kInvalidArgument), HasSubstr("CUDA device is 1000"));
  Ranks few = cuda_ranks(2);
  few.options.devices = {0};
  EXPECT_THAT(refused(few, ErrorCode::kInvalidArgument),
              HasSubstr("devices names 1 CUDA devices, but must name 2"));
}

TEST(CudaStreams, ACallablesFailureReachesWhoWaits) {
  Stream stream = Stream::cuda(0);
  Stream other = Stream::cuda(0);
  int calls = 0;
  stream.run([&calls] { ++calls; });
  stream.synchronize();
  EXPECT_EQ(calls, 1);
  stream.run([] { throw Error(ErrorCode::kRefused, "the callable says no"); });
  stream.run([&calls] { ++calls; });
  const Event event = stream.record();
  other.wait(event);
  EXPECT_THAT(error_of([&] { stream.synchronize(); }, ErrorCode::kRefused),
              HasSubstr("the callable says no"));
  EXPECT_THAT(error_of([&] { event.wait(); }, ErrorCode::kRefused), HasSubstr("says no"));
  EXPECT_THAT(error_of([&] { other.synchronize(); }, ErrorCode::kRefused), HasSubstr("says no"));
  EXPECT_EQ(calls, 1);
}

}  // namespace
}  // namespace braid::conformance
