// Combine beside whoever makes its rows: the same bits, bounded waits, and what is refused.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <string>
#include <thread>
#include <vector>

#include "conformance/small_case.hpp"
#include "conformance/suites.hpp"

namespace braid::conformance {
namespace {

using std::chrono::milliseconds;
using ::testing::HasSubstr;

class BlockSignals : public ::testing::TestWithParam<Topology> {};

TEST_P(BlockSignals, GiveTheOraclesBitsInWhateverOrderBlocksAreMade) {
  const Failures failures = block_signals({GetParam(), {}});
  for (std::size_t rank = 0; rank < failures.size(); ++rank) {
    EXPECT_EQ(failures[rank], "") << "rank " << rank;
  }
}

INSTANTIATE_TEST_SUITE_P(Conformance, BlockSignals,
                         ::testing::Values(Topology{1, 1}, Topology{2, 2}, Topology{3, 3},
                                           Topology{4, 2}, Topology{8, 8}),
                         [](const auto& instance) {
                           return "ranks" + std::to_string(instance.param.num_ranks) + "_nodes" +
                                  std::to_string(instance.param.num_nodes());
                         });

// The small case with signals of blocks of one row, which nobody has raised yet.
struct SignaledIo : Io {
  explicit SignaledIo(const Topology& topology)
      : Io(topology),
        blocks(topology.num_ranks * 4),
        signals(static_cast<std::size_t>(4 * blocks)) {
    combine_input.block_signals = {signals.data(), DType::kInt32, {4, blocks}};
    combine_options.block_rows = 1;
    combine_options.signal_threshold = 3;
  }
  std::int32_t& signal(int expert, std::int64_t block) {
    return signals[static_cast<std::size_t>(expert * blocks + block)];
  }
  std::int64_t blocks;
  std::vector<std::int32_t> signals;
};

TEST(BlockSignal, ThatNobodyRaisesIsNamedOnEveryRank) {
  const Topology topology{3, 3};
  GroupOptions options;
  options.timeout_ms = 300;
  std::atomic<bool> has_failed{false};
  const auto failures = braid::testing::run_ranks(topology, options, [&](Group& group) {
    Buffer buffer(group, small_options(topology));
    SignaledIo io(topology);
    Stream stream = Stream::cpu();
    const Handle handle = buffer.dispatch(io.input, io.output, io.options, stream);
    stream.synchronize();
    // Every rank's token names experts 0 and 1, which are rank 0's.
    io.signals.assign(io.signals.size(), 3);
    io.signal(1, 2) = 2;
    buffer.combine_begin(handle, io.combine_input, io.combine_output, io.combine_options);
    buffer.combine_send(handle, 0, stream);
    // The others' own deadlines come later.
    if (group.rank() != 0) {
      stream.run([&has_failed] {
        for (int ms = 0; ms < 5000 && !has_failed; ++ms) {
          std::this_thread::sleep_for(milliseconds(1));
        }
      });
    }
    buffer.combine_receive(handle, stream);
    try {
      stream.synchronize();
    } catch (const Error& error) {
      has_failed = true;
      EXPECT_EQ(error.code(), group.rank() == 0 ? ErrorCode::kTimeout : ErrorCode::kPeerFailed);
      EXPECT_THROW(group.check(), Error);
      throw;
    }
  });
  EXPECT_EQ(failures[0],
            "block 2 of rank 0's local expert 1 was not signaled within 0.3 s in combine send, "
            "round 0 (expected signal 3, saw 2)");
  for (const int rank : {1, 2}) {
    EXPECT_EQ(failures[static_cast<std::size_t>(rank)],
              "rank " + std::to_string(rank) +
                  " ended its operations because rank 0 reported: block 2 of rank 0's local expert "
                  "1 was not signaled within 0.3 s in combine send, round 0 (expected signal 3)");
  }
}

TEST(BlockSignal, IsWaitedForNoLongerThanAPeerLives) {
  const Topology topology{2, 2};
  GroupOptions options;
  options.timeout_ms = 1000;
  const auto failures = braid::testing::run_ranks(topology, options, [&](Group& group) {
    Buffer buffer(group, small_options(topology));
    SignaledIo io(topology);
    io.idx = {0, 4};  // an expert of each rank
    Stream stream = Stream::cpu();
    const Handle handle = buffer.dispatch(io.input, io.output, io.options, stream);
    stream.synchronize();
    if (group.rank() == 0) std::this_thread::sleep_for(milliseconds(600));
    buffer.combine_begin(handle, io.combine_input, io.combine_output, io.combine_options);
    buffer.combine_send(handle, 0, stream);
    stream.synchronize();
  });
  // Rank 0's own deadline would have come later.
  EXPECT_THAT(failures[0], HasSubstr("rank 0 ended its operations because rank 1 reported: block 0 "
                                     "of rank 1's local expert 0 was not signaled"));
  EXPECT_THAT(failures[1], HasSubstr("block 0 of rank 1's local expert 0 was not signaled"));
}

// A rank without a row waits for nothing, and its signals stay as they are.
TEST(BlockSignal, OfAnExpertWithoutRowsIsNotWaitedFor) {
  const Topology topology{2, 2};
  const auto failures = braid::testing::run_ranks(topology, {}, [&](Group& group) {
    Buffer buffer(group, small_options(topology));
    SignaledIo io(topology);
    Stream stream = Stream::cpu();
    const Handle handle = buffer.dispatch(io.input, io.output, io.options, stream);
    stream.synchronize();
    if (group.rank() == 0) {
      for (const int expert : {0, 1}) {
        for (const std::int64_t block : {0, 1}) io.signal(expert, block) = 3;
      }
    }
    buffer.combine(handle, io.combine_input, io.combine_output, io.combine_options, stream);
    stream.synchronize();
    EXPECT_EQ(io.out[0], 0x3F40);
  });
  for (const std::string& failure : failures) EXPECT_EQ(failure, "");
}

TEST(BlockSignal, IsRefusedWhereItDoesNotFit) {
  on_one_rank([](Buffer& buffer, Io& io, Stream& stream) {
    io.input.topk_weights = io.combine_input.topk_weights;
    const Handle handle = buffer.dispatch(io.input, io.output, io.options, stream);
    stream.synchronize();
    const auto expect = [&](const std::function<void(SignaledIo&)>& change,
                            const std::string& sentence) {
      SignaledIo bad({1, 1});
      change(bad);
      EXPECT_EQ(error_of(
                    [&] {
                      buffer.combine_begin(handle, bad.combine_input, bad.combine_output,
                                           bad.combine_options);
                    },
                    ErrorCode::kInvalidArgument),
                sentence);
    };
    expect([](SignaledIo& b) { b.combine_options.signal_threshold = 0; },
           "signal_threshold is 0, but must be at least 1 where block_signals are given");
    expect([](SignaledIo& b) { b.combine_options.signal_threshold = -1; },
           "signal_threshold is -1, but must be at least 1 where block_signals are given");
    expect([](SignaledIo& b) { b.combine_input.block_signals = {}; },
           "signal_threshold is 3, but no block_signals are given");
    expect([](SignaledIo& b) { b.combine_options.reduce = Reduce::kExpertRank; },
           "block_signals are given, but reduce is expert_rank: only token_rank sends rows block "
           "by block");
    expect([](SignaledIo& b) { b.combine_input.block_signals.dtype = DType::kInt64; },
           "block_signals is i64 [4, 4], but must be i32 [4, 4]");
    expect([](SignaledIo& b) { b.combine_options.block_rows = 3; },
           "block_signals is i32 [4, 4], but must be i32 [4, 2]");
    expect([](SignaledIo& b) { b.combine_input.block_signals.data = nullptr; },
           "block_signals has no data");
    // The handle is as it was.
    buffer.combine(handle, io.combine_input, io.combine_output, {}, stream);
    stream.synchronize();
    EXPECT_EQ(io.out[0], 0x3F40);
  });
}

}  // namespace
}  // namespace braid::conformance
