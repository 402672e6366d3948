// Many ranks, few of which send: between the rows of two sources a receiver finds long stretches
// without one.
#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <vector>

#include "braid/high_throughput.hpp"
#include "support/ranks.hpp"

namespace braid::conformance {
namespace {

constexpr int kRanks = 16, kReceiver = 14, kTokens = 256, kChannels = 8;

// Three ranks send all they have to one.
int tokens_of(int rank) {
  switch (rank) {
    case 4:
    case 5: return kTokens;
    case 11: return 40;
    default: return 0;
  }
}
std::uint16_t value_of(int rank, int token) {
  return static_cast<std::uint16_t>(rank * kTokens + token);
}

void send_to_one(Group& group, int workers) {
  HighThroughputOptions options;
  options.num_experts = kRanks;
  options.max_tokens = kTokens;
  options.hidden = kChannels;
  options.top_k = 1;
  HighThroughputBuffer buffer(group, options);
  const int n = tokens_of(group.rank());
  std::vector<std::int32_t> experts(static_cast<std::size_t>(n), kReceiver);
  std::vector<std::uint16_t> x;
  for (int token = 0; token < n; ++token)
    x.insert(x.end(), kChannels, value_of(group.rank(), token));
  Stream stream = Stream::cpu();
  const ThroughputHandle handle =
      buffer.layout({experts.data(), DType::kInt32, {n, 1}}, {}, stream);
  const std::int64_t rows = buffer.received(handle).num_rows;
  std::vector<std::uint16_t> received(static_cast<std::size_t>(rows * kChannels), 0);
  DispatchRowsOptions dispatch;
  dispatch.workers = workers;
  buffer.dispatch(handle, {{x.data(), DType::kBFloat16, {n, kChannels}}, {}, {}},
                  {{received.data(), DType::kBFloat16, {rows, kChannels}}, {}, {}, {}}, dispatch,
                  stream);
  stream.synchronize();
  std::vector<std::uint16_t> expected;
  for (int rank = 0; group.rank() == kReceiver && rank < kRanks; ++rank) {
    for (int token = 0; token < tokens_of(rank); ++token) {
      expected.insert(expected.end(), kChannels, value_of(rank, token));
    }
  }
  EXPECT_EQ(received, expected) << "rank " << group.rank() << ", " << workers << " workers";
}

TEST(ThroughputUneven, RowsOfFewAmongManyRanksAllArrive) {
  for (const int workers : {1, 6}) {
    const auto failures = testing::run_ranks(
        {kRanks, kRanks}, {}, [workers](Group& group) { send_to_one(group, workers); });
    for (const std::string& failure : failures) EXPECT_EQ(failure, "");
  }
}

}  // namespace
}  // namespace braid::conformance
