// What a buffer refuses, by name and with nothing lost.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "conformance/small_case.hpp"

namespace braid::conformance {
namespace {

using ::testing::HasSubstr;

TEST(Refused, OptionsOfABuffer) {
  const Topology topology{2, 2};
  const auto expect = [&](const std::function<void(BufferOptions&)>& change,
                          const std::string& sentence) {
    BufferOptions options = small_options(topology);
    change(options);
    EXPECT_THAT(error_of([&] { Buffer::plan(topology, options); }, ErrorCode::kInvalidArgument),
                HasSubstr(sentence));
  };
  expect([](BufferOptions& o) { o.num_experts = 7; }, "7 experts are not divisible by 2 ranks");
  expect([](BufferOptions& o) { o.hidden = 132; },
         "hidden is 132, but must be a positive multiple");
  expect([](BufferOptions& o) { o.top_k = 33; }, "top_k is 33, but must be 1 to 32");
  expect([](BufferOptions& o) { o.top_k = 9; }, "at most the 8 experts");
  expect([](BufferOptions& o) { o.max_tokens = 0; }, "max_tokens is 0");
  expect([](BufferOptions& o) { o.max_rounds = 5; }, "max_rounds is 5");
  expect([](BufferOptions& o) { o.depth = 0; }, "depth is 0");
  expect([](BufferOptions& o) { o.receive_workers = -1; },
         "receive_workers is -1, but must be at least 1, or 0 for the backend's default");
  expect([](BufferOptions& o) { o.hidden = 2147483520; }, "but must be at most 16777216");
  expect(
      [](BufferOptions& o) {
        o.max_tokens = 60000000;
        o.hidden = 1 << 24;
        o.depth = 2000;
      },
      "depth is 2000, but");
  expect(
      [](BufferOptions& o) {
        o.max_tokens = 500000000;
        o.handle_slots = 2147483647;
      },
      "handle_slots is 2147483647, but");
  EXPECT_THAT(error_of(
                  [] {
                    Buffer::plan({3, 2}, {});
                  },
                  ErrorCode::kInvalidArgument),
              HasSubstr("3 ranks are not divisible by 2 ranks per node"));
}

TEST(Refused, OptionsThatDifferBetweenRanks) {
  const auto failures = braid::testing::run_ranks({2, 2}, {}, [](Group& group) {
    BufferOptions options = small_options(group.topology());
    if (group.rank() == 1) options.hidden = 256;
    Buffer buffer(group, options);
  });
  EXPECT_THAT(failures[0], HasSubstr("hidden is 128 on rank 0, but 256 on rank 1"));
  EXPECT_THAT(failures[1], HasSubstr("hidden is 256 on rank 1, but 128 on rank 0"));
}

TEST(Refused, InputOfADispatchNothingLost) {
  on_one_rank([](Buffer& buffer, Io& io, Stream& stream) {
    const auto expect = [&](const std::function<void(Io&)>& change, const std::string& sentence) {
      Io bad({1, 1});
      change(bad);
      EXPECT_THAT(error_of([&] { buffer.dispatch_begin(bad.input, bad.output, bad.options); },
                           ErrorCode::kInvalidArgument),
                  HasSubstr(sentence));
    };
    expect([](Io& b) { b.idx[1] = 4; }, "topk_idx of token 0, choice 1 is 4, but must be -1 to 3");
    expect([](Io& b) { b.idx[0] = -2; }, "topk_idx of token 0, choice 0 is -2");
    expect([](Io& b) { b.input.x.shape[1] = 64; }, "x is bf16 [1, 64]");
    expect([](Io& b) { b.input.x.dtype = DType::kFloat32; }, "x is f32 [1, 128]");
    expect([](Io& b) { b.input.x.shape[0] = 5; },
           "5 tokens are given, but the buffer was made for 0 to 4");
    expect([](Io& b) { b.input.topk_idx.shape[1] = 3; }, "topk_idx names 3 experts a token");
    expect([](Io& b) { b.output.x.shape[1] = 3; }, "output x is bf16 [4, 3, 128]");
    expect([](Io& b) { b.output.counts = {}; }, "output counts is not given");
    expect([](Io& b) { b.options.num_rounds = 3; }, "rounds is 3");
    expect([](Io& b) { b.options.send_workers = -1; }, "send workers is -1, but must be 1 to");
    expect([](Io& b) { b.options.fan_out = FanOut::kPerExpert; }, "without allow_per_expert");
    expect([](Io& b) { b.options.format = DispatchFormat::kFp8; }, "output x is bf16");
    expect([](Io& b) { b.input.x.data = nullptr; }, "x has no data");
    // The buffer lives on, and no handle slot was lost.
    for (int i = 0; i < 10; ++i) {
      const Handle handle = buffer.dispatch(io.input, io.output, io.options, stream);
      buffer.combine(handle, io.combine_input, io.combine_output, io.combine_options, stream);
      stream.synchronize();
    }
    EXPECT_EQ(io.counts[0], 1);
    EXPECT_EQ(io.out[0], 0x3F40);  // (0.5 + 0.25) * 1
  });
}

TEST(Refused, AnOperationBeyondTheDepthByName) {
  on_one_rank([](Buffer& buffer, Io& io, Stream& stream) {
    std::vector<Handle> handles;
    for (int i = 0; i < 3; ++i) {
      handles.push_back(buffer.dispatch_begin(io.input, io.output, io.options));
    }
    buffer.dispatch_send(handles[0], 0, stream);
    buffer.dispatch_send(handles[1], 0, stream);
    const std::string refused =
        error_of([&] { buffer.dispatch_send(handles[2], 0, stream); }, ErrorCode::kRefused);
    EXPECT_THAT(refused, HasSubstr("dispatch #3 is refused"));
    EXPECT_THAT(refused, HasSubstr("dispatch #1, dispatch #2 sent and not yet received"));
    buffer.dispatch_receive(handles[0], 0, stream);
    buffer.dispatch_send(handles[2], 0, stream);
    buffer.dispatch_receive(handles[1], 0, stream);
    buffer.dispatch_receive(handles[2], 0, stream);
    stream.synchronize();
  });
}

TEST(Refused, ASendWhoseOwnDepthIsNotFree) {
  on_one_rank([](Buffer& buffer, Io& io, Stream& stream) {
    std::vector<Handle> handles;
    for (int i = 0; i < 3; ++i) {
      handles.push_back(buffer.dispatch_begin(io.input, io.output, io.options));
    }
    buffer.dispatch_send(handles[0], 0, stream);
    buffer.dispatch_send(handles[1], 0, stream);
    buffer.dispatch_receive(handles[1], 0, stream);
    // One operation is in flight, but it is the one whose depth the third would take.
    EXPECT_THAT(error_of([&] { buffer.dispatch_send(handles[2], 0, stream); }, ErrorCode::kRefused),
                HasSubstr("dispatch #1 sent and not yet received"));
    buffer.dispatch_receive(handles[0], 0, stream);
    buffer.dispatch_send(handles[2], 0, stream);
    buffer.dispatch_receive(handles[2], 0, stream);
    stream.synchronize();
  });
}

TEST(Refused, ACombineThatSentNothingLeavesItsHandleAsItWas) {
  on_one_rank([](Buffer& buffer, Io& io, Stream& stream) {
    Handle handle = buffer.dispatch(io.input, io.output, io.options, stream);
    Stream none;
    EXPECT_THAT(
        error_of([&] { buffer.combine(handle, io.combine_input, io.combine_output, {}, none); },
                 ErrorCode::kInvalidArgument),
        HasSubstr("the stream is empty"));
    CombineOptions one_round;
    one_round.rows_of_one_round = true;
    CombineInput no_rows = io.combine_input;
    no_rows.x = {};
    EXPECT_THAT(
        error_of([&] { buffer.combine(handle, no_rows, io.combine_output, one_round, stream); },
                 ErrorCode::kInvalidArgument),
        HasSubstr("was begun without x"));
    buffer.combine_begin(handle, no_rows, io.combine_output, one_round);
    EXPECT_THAT(error_of([&] { buffer.combine_send(handle, 0, Tensor{}, stream); },
                         ErrorCode::kInvalidArgument),
                HasSubstr("was begun without x"));
    buffer.combine_send(handle, 0, io.combine_input.x, stream);
    buffer.combine_receive(handle, stream);
    buffer.combine(handle, io.combine_input, io.combine_output, {}, stream);
    stream.synchronize();
    EXPECT_EQ(io.out[0], 0x3F40);
  });
}

TEST(CombineRegion, IsRefusedWhereTheBufferWasMadeWithoutOne) {
  on_one_rank([](Buffer& buffer, Io& io, Stream& stream) {
    const Handle handle = buffer.dispatch(io.input, io.output, io.options, stream);
    EXPECT_THAT(error_of([&] { buffer.combine_region(handle); }, ErrorCode::kInvalidArgument),
                HasSubstr("dispatch #1 has no combine region: the buffer was made without"));
    CombineInput none = io.combine_input;
    none.x = {};
    EXPECT_THAT(error_of([&] { buffer.combine(handle, none, io.combine_output, {}, stream); },
                         ErrorCode::kInvalidArgument),
                HasSubstr("x is not given, and the buffer was made without combine_regions"));
    buffer.combine(handle, io.combine_input, io.combine_output, {}, stream);
    stream.synchronize();
    EXPECT_EQ(io.out[0], 0x3F40);
  });
}

TEST(CombineRegion, HasOneAddressForEachHandleSlot) {
  on_one_rank([](Buffer& plain, Io& io, Stream& stream) {
    BufferOptions options = plain.options();
    options.combine_regions = true;
    options.handle_slots = 2;
    Buffer buffer(plain.group(), options);
    io.combine_input.x = {};
    std::vector<void*> first;
    for (int pass = 0; pass < 3; ++pass) {
      std::vector<Handle> handles;
      for (std::size_t slot = 0; slot < 2; ++slot) {
        handles.push_back(buffer.dispatch(io.input, io.output, io.options, stream));
        stream.synchronize();
        const Tensor region = buffer.combine_region(handles.back());
        EXPECT_EQ(region.dtype, DType::kBFloat16);
        EXPECT_EQ(region.num_elements(), 4 * 4 * 128);
        if (pass == 0) first.push_back(region.data);
        EXPECT_EQ(region.data, first[slot]);
        auto* rows = region.as<std::uint16_t>();
        // Twos in row 0 of experts 0 and 1.
        std::fill_n(rows, 128, 0x4000);
        std::fill_n(rows + 4 * 128, 128, 0x4000);
        io.out.assign(128, 0);
        buffer.combine(handles.back(), io.combine_input, io.combine_output, {}, stream);
        stream.synchronize();
        EXPECT_EQ(io.out[127], 0x3FC0);  // (0.5 + 0.25) * 2
      }
    }
    EXPECT_EQ(static_cast<std::byte*>(first[1]) - static_cast<std::byte*>(first[0]),
              4 * 4 * 128 * 2);
  });
}

TEST(Slots, ManyOperationsAreEnqueuedAheadWithHandlesDroppedAtOnce) {
  on_one_rank([](Buffer& buffer, Io& io, Stream& stream) {
    Stream other = Stream::cpu();
    // Nothing runs before all of it is enqueued.
    std::atomic<bool> go{false};
    stream.run([&go] {
      while (!go) std::this_thread::yield();
    });
    for (int i = 0; i < 40; ++i) {
      Stream& here = i % 3 == 0 ? other : stream;
      const Handle handle = buffer.dispatch(io.input, io.output, io.options, here);
      buffer.combine(handle, io.combine_input, io.combine_output, {}, here);
    }
    go = true;
    stream.synchronize();
    other.synchronize();
    EXPECT_EQ(io.out[0], 0x3F40);
  });
}

// between: what the slot is used for before its next dispatch.
void expect_slot_in_order(const std::function<void(Buffer&, Io&)>& between) {
  on_one_rank([&between](Buffer& plain, Io& io, Stream& stream) {
    BufferOptions options = plain.options();
    options.handle_slots = 1;
    Buffer buffer(plain.group(), options);
    Stream held = Stream::cpu();
    std::atomic<bool> go{false};
    CombineOptions two_rounds;
    two_rounds.num_rounds = 2;
    {
      const Handle handle = buffer.dispatch(io.input, io.output, io.options, stream);
      buffer.combine_begin(handle, io.combine_input, io.combine_output, two_rounds);
      buffer.combine_send(handle, 0, stream);
      held.run([&go] {
        while (!go) std::this_thread::yield();
      });
      buffer.combine_send(handle, 1, held);
      buffer.combine_receive(handle, held);
    }
    // The slot is free for the caller, but its tables are still to be read by the second round.
    Io next({1, 1});
    next.idx = {3, -1};
    next.counts.assign(4, -1);
    between(buffer, next);
    const Handle handle = buffer.dispatch(next.input, next.output, next.options, stream);
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    EXPECT_EQ(next.counts[3], -1);
    go = true;
    stream.synchronize();
    held.synchronize();
    EXPECT_EQ(io.out[0], 0x3F40);
    EXPECT_EQ(next.counts[3], 1);
  });
}

TEST(Slots, TheNextDispatchOfASlotWaitsForWhatIsEnqueuedOnIt) {
  expect_slot_in_order([](Buffer&, Io&) {});
}

TEST(Slots, TheNextDispatchOfASlotWaitsAlsoWhereAHandleInBetweenSentNothing) {
  expect_slot_in_order(
      [](Buffer& buffer, Io& io) { buffer.dispatch_begin(io.input, io.output, io.options); });
}

TEST(Refused, PhasesOutOfOrder) {
  on_one_rank([](Buffer& buffer, Io& io, Stream& stream) {
    io.options.num_rounds = 2;
    Handle handle = buffer.dispatch_begin(io.input, io.output, io.options);
    const auto refused = [](const std::function<void()>& call) {
      return error_of(call, ErrorCode::kRefused);
    };
    EXPECT_THAT(
        error_of([&] { buffer.dispatch_send(handle, 1, stream); }, ErrorCode::kInvalidArgument),
        HasSubstr("round 1 is to be sent, but the next one is 0"));
    EXPECT_THAT(refused([&] { buffer.dispatch_receive(handle, 0, stream); }),
                HasSubstr("was not sent"));
    for (int round = 0; round < 2; ++round) buffer.dispatch_send(handle, round, stream);
    EXPECT_THAT(refused([&] { buffer.dispatch_send(handle, 2, stream); }),
                HasSubstr("all 2 rounds were sent already"));
    EXPECT_THAT(refused([&] { buffer.combine_send(handle, 0, stream); }),
                HasSubstr("has no combine that was begun"));
    buffer.combine_begin(handle, io.combine_input, io.combine_output, {});
    EXPECT_THAT(
        refused([&] { buffer.combine_begin(handle, io.combine_input, io.combine_output, {}); }),
        HasSubstr("was not received yet"));
    EXPECT_THAT(refused([&] { buffer.combine_receive(handle, stream); }),
                HasSubstr("0 of its 1 rounds were sent"));
    EXPECT_THAT(refused([&] { buffer.combine_send(handle, 0, stream); }),
                HasSubstr("it needs 2 of the 2 rounds of dispatch #1, and 0 were received"));
    for (int round = 0; round < 2; ++round) buffer.dispatch_receive(handle, round, stream);
    CombineOptions expert_rank;
    expert_rank.reduce = Reduce::kExpertRank;
    buffer.combine_send(handle, 0, stream);
    buffer.combine_receive(handle, stream);
    EXPECT_THAT(
        error_of(
            [&] { buffer.combine_begin(handle, io.combine_input, io.combine_output, expert_rank); },
            ErrorCode::kInvalidArgument),
        HasSubstr("was given no topk_weights to take along"));
    stream.synchronize();
  });
}

TEST(Refused, AHandleOfAnotherBufferAndOneHandleTooMany) {
  on_one_rank([](Buffer& buffer, Io& io, Stream& stream) {
    Buffer other(buffer.group(), buffer.options());
    Handle handle = buffer.dispatch_begin(io.input, io.output, io.options);
    EXPECT_THAT(
        error_of([&] { other.dispatch_send(handle, 0, stream); }, ErrorCode::kInvalidArgument),
        HasSubstr("is of another buffer"));
    EXPECT_THAT(error_of([&] { buffer.dispatch_send({}, 0, stream); }, ErrorCode::kInvalidArgument),
                HasSubstr("the handle is empty"));
    Stream none;
    EXPECT_THAT(
        error_of([&] { buffer.dispatch_send(handle, 0, none); }, ErrorCode::kInvalidArgument),
        HasSubstr("the stream is empty"));
    std::vector<Handle> handles;
    for (int i = 0; i < 3; ++i) {
      handles.push_back(buffer.dispatch_begin(io.input, io.output, io.options));
    }
    EXPECT_THAT(error_of([&] { buffer.dispatch_begin(io.input, io.output, io.options); },
                         ErrorCode::kRefused),
                HasSubstr("all 4 handle slots are taken"));
    handles.clear();
    EXPECT_TRUE(buffer.dispatch_begin(io.input, io.output, io.options).valid());
  });
}

TEST(Plan, RegionsFollowEachOtherAndAddUp) {
  const Topology topology{8, 4};
  BufferOptions options;
  options.num_experts = 256;
  options.max_tokens = 128;
  options.hidden = 7168;
  options.top_k = 8;
  const MemoryPlan plan = Buffer::plan(topology, options);
  std::uint64_t end = 0;
  for (const MemoryRegion& region : plan.symmetric) {
    EXPECT_GE(region.offset, end);
    EXPECT_LT(region.offset - end, 4096U);
    EXPECT_EQ(region.offset % 4096, 0U);
    end = region.offset + region.bytes;
  }
  EXPECT_LE(end, plan.symmetric_bytes);
  EXPECT_LT(plan.symmetric_bytes - end, 4096U);
  // 128 slots of 8 ranks of 14336 + 16 + 8*16 bytes, rounded up to 128; one more than depths.
  EXPECT_EQ(plan.symmetric.back().bytes, 3U * 8 * 128 * 14592);
}

}  // namespace
}  // namespace braid::conformance
