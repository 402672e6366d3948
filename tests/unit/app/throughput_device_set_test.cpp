// A GPU bench's sets of inputs and outputs in high throughput, on the device that every machine
// has, and what the report makes of them.
#include "app/throughput_device_set.hpp"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "app/ranks.hpp"
#include "app/sent_rows.hpp"
#include "runtime/group_backend.hpp"

namespace braid::app {
namespace {

BenchOptions small(DispatchFormat format, RowOrder rows = RowOrder::kBySource) {
  BenchOptions options;
  options.communication.ranks = 4;
  options.communication.mode = Mode::kHighThroughput;
  options.communication.dispatch = format;
  options.communication.rows_given = rows;
  options.hidden = 640;
  options.experts = 16;
  options.top_k = 3;
  options.tokens = 9;
  return options;
}

// Dispatch, the rows as they are, combine; each set once more where nothing was left, into outputs
// of the other length.
RankResult pass(Group& group, const BenchOptions& options, const BenchCase& bench) {
  std::vector<std::unique_ptr<ThroughputDeviceSet>> sets;
  for (int set = 0; set < bench.sets; ++set) {
    sets.push_back(make_throughput_set(group.backend().shared_device(), options, bench,
                                       bench_inputs(options, bench, group.rank(), set)));
  }
  HighThroughputBuffer buffer(group, bench_throughput_options(options, bench));
  Stream stream = group.make_stream();
  RankResult result;
  result.num_operations = 1;
  for (int index = 0; index < bench.sets; ++index) {
    ThroughputDeviceSet& set = *sets[static_cast<std::size_t>(index)];
    const ThroughputHandle handle = set.lay_out(buffer, stream);
    set.set_counts(buffer.received(handle));
    const std::string sent = sent_rows(options, bench, group.rank(), index);
    std::string output;
    for (const Outputs outputs : {Outputs::kExact, Outputs::kWorstCase}) {
      // Of the second time: on a handle whose rows the host does not know.
      const ThroughputHandle other = set.lay_out(buffer, stream);
      const ThroughputCall call{buffer, outputs == Outputs::kExact ? handle : other, stream};
      set.dispatch(call, outputs);
      stream.synchronize();
      EXPECT_EQ(set.received(), sent);
      set.decode_rows();
      set.combine(call, outputs);
      const DispatchedRows in_place = set.dispatch_in_place(call);
      stream.synchronize();
      if (!options.communication.expanded()) {
        EXPECT_EQ(set.received_in_place(in_place), sent);
      }
      if (outputs == Outputs::kExact) output = set.output();
      EXPECT_EQ(set.output(), output);
      set.poison_received();
      set.poison_output();
      EXPECT_NE(set.received(), sent);
      EXPECT_NE(set.output(), output);
    }
    result.output += output;
  }
  result.rows_as_sent = true;
  return result;
}

TEST(ThroughputDeviceSet, TakesTokensToEachOfTheirRanksOrExpertsAndBringsTheirSumBack) {
  for (const RowOrder rows : {RowOrder::kBySource, RowOrder::kByExpert}) {
    for (const DispatchFormat format : {DispatchFormat::kBf16, DispatchFormat::kFp8}) {
      BenchOptions options = small(format, rows);
      if (rows == RowOrder::kByExpert) options.communication.alignment_given = 4;
      BenchCase bench = load_bench(options);
      bench.sets = 2;
      auto results = run_as_threads(options.communication,
                                    [&](Group& group) { return pass(group, options, bench); });
      // Whose bench has nobody to weigh rows by source.
      options.communication.backend = Backend::kCuda;
      const BenchReport report = make_report(options, bench, results);
      EXPECT_TRUE(report.verified) << to_string(rows) << ' ' << to_string(format);
      EXPECT_EQ(report.reference, rows == RowOrder::kBySource ? "sum_of_ranks" : "weighted_sum");
      EXPECT_EQ(report.comparisons.back().name, "sent_rows");

      results[2].rows_as_sent = false;
      EXPECT_FALSE(make_report(options, bench, results).verified);
      results[2].rows_as_sent = true;
      results[1].output.back() = static_cast<char>(results[1].output.back() ^ 0x40);
      EXPECT_FALSE(make_report(options, bench, results).verified);
    }
  }
}

TEST(SentRows, ByExpertSayWhoseEachRowIsAndLeaveOutPadding) {
  const std::string received = rows_by_expert({0, -1, 3}, "aabbcc", "xyz");
  const std::vector<std::int32_t> experts{0, -1, 3};
  EXPECT_EQ(received.substr(0, 12), std::string(reinterpret_cast<const char*>(experts.data()), 12));
  EXPECT_EQ(received.substr(12), "aaccxz");
  EXPECT_EQ(rows_by_expert({}, "", ""), "");

  // A token's row stands once for each of its experts; padding has no bytes but its -1.
  BenchOptions options = small(DispatchFormat::kBf16, RowOrder::kByExpert);
  options.communication.alignment_given = 32;
  const BenchCase bench = load_bench(options);
  std::size_t rows = 0, bytes = 0;
  for (int rank = 0; rank < 4; ++rank) {
    const std::string sent = sent_rows(options, bench, rank, 0);
    std::size_t here = 0;
    for (int source = 0; source < 4; ++source) {
      for (const std::int64_t expert : bench_inputs(options, bench, source).routing.topk_idx) {
        here += static_cast<std::size_t>(expert / 4 == rank);
      }
    }
    rows += here;
    bytes += sent.size();
    EXPECT_EQ((sent.size() - here * 640 * 2) % (32 * 4), 0U);
  }
  EXPECT_EQ(rows, 4U * 9U * 3U);
  EXPECT_GT(bytes, rows * 640 * 2);
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
