// Ranks that are ahead of others, and what they must leave alone.
#include <gtest/gtest.h>

#include <chrono>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "braid/high_throughput.hpp"
#include "support/ranks.hpp"

namespace braid::conformance {
namespace {

constexpr int kTokens = 3, kChannels = 128, kPasses = 6;
constexpr std::chrono::milliseconds kPause{100};

HighThroughputOptions options_for(int depth) {
  HighThroughputOptions options;
  options.num_experts = 2;
  options.max_tokens = kTokens;
  options.hidden = kChannels;
  options.top_k = 1;
  options.depth = depth;
  return options;
}

Tensor rows_of(std::vector<std::uint16_t>& values) {
  return {values.data(),
          DType::kBFloat16,
          {static_cast<std::int64_t>(values.size()) / kChannels, kChannels}};
}

// What a pass sends.
std::vector<std::uint16_t> values_of(int pass) {
  return std::vector<std::uint16_t>(kTokens * kChannels, static_cast<std::uint16_t>(0x3F00 + pass));
}

// Rank 0's tokens all go to rank 1, which has none: nothing that comes back holds rank 0 up.
ThroughputHandle lay_out(HighThroughputBuffer& buffer, Stream& stream) {
  static std::vector<std::int32_t> to_rank_1(kTokens, 1);
  const std::int64_t n = buffer.group().rank() == 0 ? kTokens : 0;
  const ThroughputHandle handle =
      buffer.layout({to_rank_1.data(), DType::kInt32, {n, 1}}, {}, stream);
  buffer.received(handle);
  return handle;
}

void expect_well(const std::function<void(Group&)>& part) {
  GroupOptions options;
  options.timeout_ms = 10000;
  const auto failures = testing::run_ranks({2, 2}, options, part);
  for (const std::string& failure : failures) EXPECT_EQ(failure, "");
}

TEST(ThroughputOrder, ASlowRankFindsEachDispatchsRows) {
  for (const int depth : {1, 2}) {
    expect_well([depth](Group& group) {
      HighThroughputBuffer buffer(group, options_for(depth));
      Stream stream = Stream::cpu();
      const ThroughputHandle handle = lay_out(buffer, stream);
      const bool sends = group.rank() == 0;
      std::vector<std::vector<std::uint16_t>> sent, received;
      for (int pass = 0; pass < kPasses; ++pass) {
        sent.push_back(sends ? values_of(pass) : std::vector<std::uint16_t>());
        received.emplace_back(sends ? 0 : kTokens * kChannels);
      }
      if (!sends) stream.run([] { std::this_thread::sleep_for(kPause); });
      for (std::size_t pass = 0; pass < kPasses; ++pass) {
        buffer.dispatch(handle, {rows_of(sent[pass]), {}, {}},
                        {rows_of(received[pass]), {}, {}, {}}, {}, stream);
      }
      stream.synchronize();
      for (int pass = 0; pass < kPasses && !sends; ++pass) {
        EXPECT_EQ(received[static_cast<std::size_t>(pass)], values_of(pass)) << "pass " << pass;
      }
    });
  }
}

TEST(ThroughputOrder, ASlowRankFindsEachCombinesRows) {
  for (const int depth : {1, 2}) {
    expect_well([depth](Group& group) {
      HighThroughputBuffer buffer(group, options_for(depth));
      Stream stream = Stream::cpu();
      const ThroughputHandle handle = lay_out(buffer, stream);
      const bool sends = group.rank() == 1;
      std::vector<std::vector<std::uint16_t>> sent, received;
      for (int pass = 0; pass < kPasses; ++pass) {
        sent.push_back(sends ? values_of(pass) : std::vector<std::uint16_t>());
        received.emplace_back(sends ? 0 : kTokens * kChannels);
      }
      if (!sends) stream.run([] { std::this_thread::sleep_for(kPause); });
      for (std::size_t pass = 0; pass < kPasses; ++pass) {
        buffer.combine(handle, {rows_of(sent[pass]), {}}, {rows_of(received[pass]), {}}, {},
                       stream);
      }
      stream.synchronize();
      for (int pass = 0; pass < kPasses && !sends; ++pass) {
        EXPECT_EQ(received[static_cast<std::size_t>(pass)], values_of(pass)) << "pass " << pass;
      }
    });
  }
}

TEST(ThroughputOrder, RowsInPlaceStayUntilTheNextOperation) {
  expect_well([](Group& group) {
    HighThroughputBuffer buffer(group, options_for(1));
    Stream stream = Stream::cpu();
    const ThroughputHandle handle = lay_out(buffer, stream);
    const bool sends = group.rank() == 0;
    std::vector<std::vector<std::uint16_t>> sent;
    for (int pass = 0; pass < kPasses; ++pass) {
      sent.push_back(sends ? values_of(pass) : std::vector<std::uint16_t>());
    }
    for (int pass = 0; pass < kPasses; ++pass) {
      const DispatchedRows rows = buffer.dispatch_in_place(
          handle, {rows_of(sent[static_cast<std::size_t>(pass)]), {}, {}}, {}, {}, stream);
      if (sends) continue;  // as far ahead as it may be
      stream.synchronize();
      std::this_thread::sleep_for(kPause / kPasses);
      const auto* seen = rows.x.as<const std::uint16_t>();
      EXPECT_EQ(std::vector<std::uint16_t>(seen, seen + rows.x.num_elements()), values_of(pass));
    }
    stream.synchronize();
  });
}

TEST(ThroughputOrder, OperationsOnSeveralStreamsRunInTheOrderOfTheCalls) {
  expect_well([](Group& group) {
    HighThroughputBuffer buffer(group, options_for(1));
    Stream streams[] = {Stream::cpu(), Stream::cpu(), Stream::cpu()};
    const ThroughputHandle handle = lay_out(buffer, streams[0]);
    const bool sends = group.rank() == 0;
    std::vector<std::uint16_t> x = sends ? values_of(1) : std::vector<std::uint16_t>();
    std::vector<std::uint16_t> rows(sends ? 0 : kTokens * kChannels), out(x.size());
    // Each pass sends what the last one brought home: out of order, it would send zeros.
    for (int pass = 0; pass < kPasses; ++pass) {
      std::vector<std::uint16_t>& from = pass == 0 ? x : out;
      buffer.dispatch(handle, {rows_of(from), {}, {}}, {rows_of(rows), {}, {}, {}}, {},
                      streams[pass % 3]);
      buffer.combine(handle, {rows_of(rows), {}}, {rows_of(out), {}}, {}, streams[(pass + 1) % 3]);
    }
    for (Stream& stream : streams) stream.synchronize();
    EXPECT_EQ(out, x);
  });
}

}  // namespace
}  // namespace braid::conformance
