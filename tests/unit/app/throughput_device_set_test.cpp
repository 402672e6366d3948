// A GPU bench's sets of inputs and outputs in high throughput, on the device that every machine
// has, and what the report makes of them.
#include "app/throughput_device_set.hpp"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "app/ranks.hpp"
#include "runtime/group_backend.hpp"

namespace braid::app {
namespace {

BenchOptions small(DispatchFormat format) {
  BenchOptions options;
  options.communication.ranks = 4;
  options.communication.mode = Mode::kHighThroughput;
  options.communication.dispatch = format;
  options.hidden = 640;
  options.experts = 16;
  options.top_k = 3;
  options.tokens = 9;
  return options;
}

// Dispatch, the rows as they are, combine; each set once more where nothing was left.
RankResult pass(Group& group, const BenchOptions& options, const BenchCase& bench) {
  std::vector<std::unique_ptr<ThroughputDeviceSet>> sets;
  for (int set = 0; set < bench.sets; ++set) {
    sets.push_back(
        std::make_unique<ThroughputDeviceSet>(group.backend().shared_device(), options, bench,
                                              bench_inputs(options, bench, group.rank(), set)));
  }
  HighThroughputBuffer buffer(group, bench_throughput_options(options, bench));
  Stream stream = group.make_stream();
  DispatchRowsOptions dispatch;
  dispatch.format = options.communication.dispatch;
  RankResult result;
  result.num_operations = 1;
  for (int index = 0; index < bench.sets; ++index) {
    ThroughputDeviceSet& set = *sets[static_cast<std::size_t>(index)];
    const ThroughputHandle handle = buffer.layout(set.topk_idx(), {}, stream);
    const std::int64_t rows = buffer.received(handle).num_rows;
    const std::string sent = sent_rows(options, bench, group.rank(), index);
    std::string output;
    for (int time = 0; time < 2; ++time) {
      buffer.dispatch(handle, set.dispatch_input(), set.dispatch_output(), dispatch, stream);
      stream.synchronize();
      EXPECT_EQ(set.received(rows), sent);
      set.decode_rows(rows);
      buffer.combine(handle, set.combine_input(), set.combine_output(), {}, stream);
      const DispatchedRows in_place =
          buffer.dispatch_in_place(handle, set.dispatch_input(), {}, dispatch, stream);
      stream.synchronize();
      EXPECT_EQ(set.received(in_place, rows), sent);
      if (time == 0) output = set.output();
      EXPECT_EQ(set.output(), output);
      set.poison_received();
      set.poison_output();
      EXPECT_NE(set.received(rows), sent);
      EXPECT_NE(set.output(), output);
    }
    result.output += output;
  }
  result.rows_as_sent = true;
  return result;
}

TEST(ThroughputDeviceSet, TakesTokensToEachOfTheirRanksAndBringsTheirSumBack) {
  for (const DispatchFormat format : {DispatchFormat::kBf16, DispatchFormat::kFp8}) {
    BenchOptions options = small(format);
    BenchCase bench = load_bench(options);
    bench.sets = 2;
    auto results = run_as_threads(options.communication,
                                  [&](Group& group) { return pass(group, options, bench); });
    options.communication.backend = Backend::kCuda;  // whose bench has nobody to weigh rows
    const BenchReport report = make_report(options, bench, results);
    EXPECT_TRUE(report.verified) << to_string(format);
    EXPECT_EQ(report.reference, "sum_of_ranks");
    EXPECT_EQ(report.comparisons.back().name, "sent_rows");

    results[2].rows_as_sent = false;
    EXPECT_FALSE(make_report(options, bench, results).verified);
    results[2].rows_as_sent = true;
    results[1].output.back() = static_cast<char>(results[1].output.back() ^ 0x40);
    EXPECT_FALSE(make_report(options, bench, results).verified);
  }
}

TEST(ThroughputBenchSets, HaveAHandleEachTwice) {
  BenchOptions options = small(DispatchFormat::kBf16);
  options.communication.backend = Backend::kCuda;
  options.tokens = 4096;
  options.hidden = 7168;
  const BenchCase bench = load_bench(options);
  EXPECT_EQ(bench.sets, 2);
  EXPECT_EQ(bench_throughput_options(options, bench).handle_slots, 4);
}

TEST(RanksOfToken, AreThoseOfItsExpertsOnce) {
  BenchOptions options = small(DispatchFormat::kBf16);
  const BenchCase bench = load_bench(options);
  const Routing routing{3, {15, 0, 2, -1, -1, -1, 4, -1, 4}, {}};
  EXPECT_EQ(ranks_of_token(options, bench, routing, 0), (std::vector<int>{0, 3}));
  EXPECT_EQ(ranks_of_token(options, bench, routing, 1), std::vector<int>{});
  EXPECT_EQ(ranks_of_token(options, bench, routing, 2), std::vector<int>{1});
}

}  // namespace
}  // namespace braid::app
