// A bench's sets of inputs and outputs, on the device that every machine has, and what the report
// makes of a GPU's figures.
#include "app/device_set.hpp"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "app/operations.hpp"
#include "app/ranks.hpp"
#include "runtime/group_backend.hpp"

namespace braid::app {
namespace {

BenchOptions small(DispatchFormat format, ScaleLayout scales, Reduce reduce) {
  BenchOptions options;
  options.communication.ranks = 2;
  options.communication.dispatch = format;
  options.communication.scales = scales;
  options.communication.reduce_given = reduce;
  options.hidden = 640;
  options.experts = 8;
  options.top_k = 3;
  options.tokens = 5;
  return options;
}

// Dispatch, identity experts, combine, of every set; what a poisoned one lacks is written anew.
RankResult pass(Group& group, const BenchOptions& options, const BenchCase& bench) {
  std::vector<std::unique_ptr<DeviceSet>> sets;
  for (int set = 0; set < bench.sets; ++set) {
    sets.push_back(std::make_unique<DeviceSet>(group.backend().shared_device(), options, bench,
                                               bench_inputs(options, bench, group.rank(), set)));
  }
  Buffer buffer(group, bench_buffer_options(options, bench));
  Stream stream = group.make_stream();
  const auto run = [&](DeviceSet& set) {
    const Handle handle = buffer.dispatch(set.dispatch_input(), set.dispatch_output(),
                                          dispatch_options(options.communication), stream);
    stream.synchronize();
    set.decode_rows();
    buffer.combine(handle, set.combine_input(), set.combine_output(),
                   combine_options(options.communication), stream);
    stream.synchronize();
  };
  RankResult result;
  result.num_operations = 1;
  for (const auto& set : sets) {
    run(*set);
    const std::string received = set->received();
    const std::string output = set->output();
    set->poison_received();
    set->poison_output();
    EXPECT_NE(set->received(), received);
    EXPECT_NE(set->output(), output);
    run(*set);
    EXPECT_EQ(set->received(), received);
    EXPECT_EQ(set->output(), output);
  }
  for (const int set : bench.checked_sets()) {
    result.output += sets[static_cast<std::size_t>(set)]->output();
  }
  return result;
}

TEST(DeviceSet, TakesATokenThereAndBackInEveryLayout) {
  for (const DispatchFormat format :
       {DispatchFormat::kBf16, DispatchFormat::kFp8, DispatchFormat::kFp8Ue8m0}) {
    for (const ScaleLayout scales : {ScaleLayout::kRowMajor, ScaleLayout::kColumnMajor}) {
      for (const Reduce reduce : {Reduce::kTokenRank, Reduce::kExpertRank}) {
        const BenchOptions options = small(format, scales, reduce);
        BenchCase bench = load_bench(options);
        bench.sets = 3;
        auto results = run_as_threads(options.communication,
                                      [&](Group& group) { return pass(group, options, bench); });
        EXPECT_TRUE(make_report(options, bench, results).verified) << to_string(format);
        // The last set's output is looked at too: its last value is another number.
        results[1].output.back() = static_cast<char>(results[1].output.back() ^ 0x40);
        EXPECT_FALSE(make_report(options, bench, results).verified) << to_string(format);
      }
    }
  }
}

TEST(BenchSets, DifferAndTheFirstIsTheCpusOwn) {
  const BenchOptions options =
      small(DispatchFormat::kFp8, ScaleLayout::kRowMajor, Reduce::kTokenRank);
  const BenchCase bench = load_bench(options);
  const BenchInputs first = bench_inputs(options, bench, 1);
  EXPECT_EQ(first.tokens, bench_inputs(options, bench, 1, 0).tokens);
  EXPECT_NE(first.tokens, bench_inputs(options, bench, 1, 1).tokens);
  EXPECT_NE(bench_inputs(options, bench, 0, 1).tokens, first.tokens);
  EXPECT_NE(first.routing.topk_idx, bench_inputs(options, bench, 1, 1).routing.topk_idx);
}

TEST(BenchSets, OnCudaTouchTwiceTheCacheAndAreTwoAtLeast) {
  BenchOptions options;
  EXPECT_EQ(load_bench(options).sets, 1);
  options.communication.backend = Backend::kCuda;
  options.communication.ranks = 2;
  options.hidden = 7168;
  // A set of 128 tokens: 128 * (2 * 7168 + 8 * (7168 + 56 * 4)) bytes.
  EXPECT_EQ(load_bench(options).sets, 100'000'000 / (128 * (14336 + 8 * 7392)) + 1);
  options.tokens = 4096;
  EXPECT_EQ(load_bench(options).sets, 2);
  options.tokens = 1;
  EXPECT_EQ(load_bench(options).sets, 256);
  options.sets = 7;
  EXPECT_EQ(load_bench(options).sets, 7);
  EXPECT_EQ(bench_buffer_options(options, load_bench(options)).handle_slots, 21);
}

TEST(GpuReport, TakesTheSlowestRankOfEachReplay) {
  const BenchOptions options =
      small(DispatchFormat::kBf16, ScaleLayout::kRowMajor, Reduce::kTokenRank);
  const BenchCase bench = load_bench(options);
  std::vector<RankResult> results(2);
  for (RankResult& result : results) {
    result.output.resize(static_cast<std::size_t>(2 * options.tokens * options.hidden));
    result.gpu.emplace();
    result.gpu->device = "GPU";
    result.gpu->send_workers = 100;
    result.gpu->graph_operations = 96;
    result.gpu->dispatch = {1, 5, 3};
    result.gpu->layout = {7, 7, 7};
  }
  results[1].gpu->dispatch = {4, 2, 2};
  results[1].gpu->device = "another";
  const BenchReport report = make_report(options, bench, results);
  ASSERT_TRUE(report.gpu.has_value());
  EXPECT_EQ(report.gpu->devices, (std::vector<std::string>{"GPU", "another"}));
  EXPECT_EQ(report.gpu->send_workers, 100);
  EXPECT_EQ(report.gpu->graph_operations, 96);
  // Not those that nobody measured.
  ASSERT_EQ(report.gpu->figures.size(), 2U);
  EXPECT_EQ(report.gpu->figures.back().name, "layout");
  const GpuFigure& dispatch = report.gpu->figures.front();
  EXPECT_EQ(dispatch.name, "dispatch");
  EXPECT_EQ(dispatch.p50, 4);  // of 4, 5, 3
  EXPECT_EQ(dispatch.p99, 5);
  EXPECT_EQ(dispatch.min, 3);
}

}  // namespace
}  // namespace braid::app
