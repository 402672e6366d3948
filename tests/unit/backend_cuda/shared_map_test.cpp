// What fits a block's shared memory, and that what does not is refused by name. No GPU is needed.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <initializer_list>
#include <string>
#include <utility>

#include "backend/cuda/throughput_kernels.hpp"
#include "braid/error.hpp"

namespace braid::cuda {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

layout::ThroughputShape shape_of(int hidden, int num_ranks = 2) {
  layout::ThroughputShape shape;
  shape.num_ranks = num_ranks;
  shape.num_experts = 256;
  shape.max_tokens = 4096;
  shape.hidden = hidden;
  shape.top_k = 8;
  shape.expanded = true;
  return shape;
}

protocol::ThroughputArgs op_of(const layout::ThroughputShape& shape) {
  return {layout::ThroughputMap::of(shape), layout::ThroughputLocalMap::of(shape), nullptr, 0};
}

// How a dispatch has its rows.
struct Way {
  const char* name;
  DispatchFormat format;
  bool given_encoded;
  bool in_region;
};
constexpr Way kWays[] = {{"bf16", DispatchFormat::kBf16, false, false},
                         {"bf16 in place", DispatchFormat::kBf16, false, true},
                         {"fp8", DispatchFormat::kFp8, false, false},
                         {"fp8 in place", DispatchFormat::kFp8, false, true},
                         {"fp8 given", DispatchFormat::kFp8, true, false},
                         {"fp8 given in place", DispatchFormat::kFp8, true, true}};

SharedMap dispatch_map(const layout::ThroughputShape& shape, const Way& way) {
  static constexpr float kScale = 1.0F;
  protocol::RowsDispatchArgs args;
  args.op = op_of(shape);
  args.k = shape.top_k;
  args.format = way.format;
  args.scales = way.given_encoded ? &kScale : nullptr;
  args.in_region = way.in_region;
  return shared_map_of(args);
}

SharedMap combine_map(const layout::ThroughputShape& shape) {
  protocol::RowsCombineArgs args;
  args.op = op_of(shape);
  args.k = shape.top_k;
  return shared_map_of(args);
}

// Of a combine by so many blocks.
MachineArgs shared_for_combine(const layout::ThroughputShape& shape, int num_workers,
                               bool expanded) {
  protocol::RowsCombineArgs args;
  args.op = op_of(shape);
  args.k = shape.top_k;
  args.expanded = expanded;
  MachineArgs machine;
  machine.num_workers = num_workers;
  share_memory(args, machine);
  return machine;
}

SharedMap layout_map(const layout::ThroughputShape& shape) {
  protocol::LayoutArgs args;
  args.op = op_of(shape);
  args.topk.k = shape.top_k;
  return shared_map_of(args);
}

void expect_fits(const SharedMap& map, const std::string& what) {
  EXPECT_LE(map.bytes, kSharedLimit) << what;
  EXPECT_GE(map.warps.num_senders, 1) << what;
  EXPECT_LE(map.warps.num_senders, map.warps.num_warps) << what;
  EXPECT_LE(map.warps.num_warps, kMostWarps) << what;
}

// The sentence of a refusal, "" where there was none.
std::string refusal(const std::function<void()>& call) {
  try {
    call();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
    return error.what();
  }
  return "";
}

TEST(SharedMap, OfEveryOperationFitsAtEveryUsualWidth) {
  for (const int hidden : {128, 2048, 4096, 7168, 8192, 14336, 16384}) {
    for (const int num_ranks : {1, 2, 8, 64}) {
      const layout::ThroughputShape shape = shape_of(hidden, num_ranks);
      expect_fits(layout_map(shape), "layout");
      expect_fits(combine_map(shape), "combine");
      for (const Way& way : kWays) expect_fits(dispatch_map(shape, way), way.name);
    }
  }
}

TEST(SharedMap, SomeBlocksOnlySendWhereThereAreManyAndTheirTablesLeaveRoom) {
  for (const int num_ranks : {2, 8}) {
    layout::ThroughputShape shape = shape_of(7168, num_ranks);
    shape.expanded = false;
    for (const int num_workers : {20, 24, 64, 132}) {
      const MachineArgs machine = shared_for_combine(shape, num_workers, false);
      const std::string what = std::to_string(num_ranks) + " ranks, " + std::to_string(num_workers);
      EXPECT_GE(machine.sending_workers, 8) << what;
      EXPECT_LT(machine.sending_workers, num_workers / 2) << what;
      expect_fits(machine.sending, what);
      EXPECT_LE(machine.shared.bytes, kSharedLimit) << what;
      EXPECT_EQ(machine.shared.warps.num_senders, 0) << what;
      EXPECT_EQ(machine.shared.num_threads(), machine.sending.num_threads()) << what;
    }
    EXPECT_EQ(shared_for_combine(shape, 19, false).sending_workers, 0);
  }
  EXPECT_EQ(shared_for_combine(shape_of(16384), 64, false).sending_workers, 0);
}

TEST(SharedMap, OfRowsByExpertFewBlocksAllSendAndOfManyHalfDo) {
  for (const int hidden : {128, 7168, 16384}) {
    for (const int num_ranks : {1, 2, 8, 64}) {
      for (const auto& [num_workers, sending] : std::initializer_list<std::pair<int, int>>{
               {1, 1}, {8, 8}, {32, 32}, {48, 32}, {64, 32}, {132, 66}}) {
        const MachineArgs machine =
            shared_for_combine(shape_of(hidden, num_ranks), num_workers, true);
        const std::string what = std::to_string(hidden) + " channels, " +
                                 std::to_string(num_ranks) + " ranks, " +
                                 std::to_string(num_workers);
        EXPECT_EQ(machine.sending_workers, sending) << what;
        expect_fits(machine.sending, what);
        expect_fits(machine.shared, what);
        EXPECT_EQ(machine.shared.num_threads(), machine.sending.num_threads()) << what;
      }
    }
  }
}

// The widest row that an operation takes: two of them, one for a sender and one for a receiver or
// none, are all that there must be room for.
int widest(const std::function<void(int)>& take) {
  int fits = 128, does_not = 1 << 20;
  while (does_not - fits > 128) {
    const int middle = (fits + does_not) / 2 / 128 * 128;
    (refusal([&] { take(middle); }).empty() ? fits : does_not) = middle;
  }
  return fits;
}

void expect_refused_beyond(const std::function<void(int)>& take, const std::string& what) {
  const int most = widest(take);
  EXPECT_GT(most, 16384) << what;
  EXPECT_LT(most, kSharedLimit) << what;
  EXPECT_THAT(refusal([&] { take(most + 128); }),
              AllOf(HasSubstr("rows of "), HasSubstr("on 2 ranks"), HasSubstr("232448"),
                    HasSubstr("hidden must be smaller")))
      << what;
}

TEST(SharedMap, ARowThatNoBlockHasRoomForIsRefusedByName) {
  expect_refused_beyond([](int hidden) { combine_map(shape_of(hidden)); }, "combine");
  for (const Way& way : kWays) {
    expect_refused_beyond([&way](int hidden) { dispatch_map(shape_of(hidden), way); }, way.name);
  }
}

TEST(SharedMap, ARoutingWhoseCountsDontFitIsRefusedByName) {
  layout::ThroughputShape shape = shape_of(7168, 8);
  shape.max_tokens = 4'000'000;
  EXPECT_THAT(refusal([&] { layout_map(shape); }),
              AllOf(HasSubstr("chunks of a routing"), HasSubstr("on 8 ranks"),
                    HasSubstr("max_tokens or num_experts must be smaller")));
  shape = shape_of(7168, 8);
  shape.num_experts = 80000;
  EXPECT_THAT(refusal([&] { layout_map(shape); }), HasSubstr("must be smaller"));
}

}  // namespace
}  // namespace braid::cuda
