#include "app/layer_rank.hpp"

#include "app/run_schedules.hpp"
#include "app/scheduled_layer.hpp"
#include "app/throughput_layer.hpp"

namespace braid::app {
namespace {

// The repeats of one way to run a layer.
struct Repeats {
  std::vector<StepTimes> times;  // of those that are timed
  bool equal = true;             // all gave the same bits
  std::string output;
  std::vector<OperationTime> operations;  // of the last
};

template <class Pass>
Repeats repeat(int count, Pass pass) {
  Repeats all;
  for (int i = 0; i < count; ++i) {
    ScheduledPass one = pass();
    const bool warm_up = i == 0 && count > 1;
    if (!warm_up) all.times.push_back(one.steps);
    if (i > 0 && one.output != all.output) all.equal = false;
    all.output = std::move(one.output);
    all.operations = std::move(one.times);
  }
  return all;
}

RankResult result_of(Repeats repeats, int count) {
  RankResult result;
  result.times = std::move(repeats.times);
  result.repeats_equal = repeats.equal;
  result.output = std::move(repeats.output);
  result.operation_times = std::move(repeats.operations);
  result.num_operations = count;
  return result;
}

RankResult run_scheduled(Group& group, const RunOptions& options, const LayerCase& layer) {
  ScheduledLayer scheduled(group, options, layer);
  RunSchedules schedules = run_schedules(options, layer);
  const bool split = schedules.micro_batches == 1 || scheduled.agree_on_two_batches();
  if (!split) schedules = {schedules.sequential, schedules.sequential, 1};
  RankResult result =
      result_of(repeat(options.repeat,
                       [&] { return scheduled.pass(schedules.chosen, schedules.micro_batches); }),
                options.repeat);
  result.split_agreed = split;
  result.traffic = scheduled.traffic();
  result.tokens_per_expert = scheduled.tokens_per_expert();
  if (!schedules.overlaps()) return result;
  Repeats plain = repeat(options.repeat, [&] { return scheduled.pass(schedules.sequential, 1); });
  result.repeats_equal = result.repeats_equal && plain.equal;
  result.sequential = SequentialResult{.equal = plain.output == result.output,
                                       .times = std::move(plain.times),
                                       .operation_times = std::move(plain.operations)};
  return result;
}

RankResult run_throughput(Group& group, const RunOptions& options, const LayerCase& layer) {
  ThroughputLayer throughput(group, options.communication, layer);
  RankResult result = result_of(repeat(options.repeat,
                                       [&] {
                                         const StepTimes steps = throughput.pass();
                                         return ScheduledPass{steps, {}, throughput.output()};
                                       }),
                                options.repeat);
  result.traffic = throughput.traffic();
  result.tokens_per_expert = throughput.tokens_per_expert();
  return result;
}

}  // namespace

RankResult run_layer_rank(Group& group, const RunOptions& options, const LayerCase& layer) {
  return options.communication.mode == Mode::kHighThroughput ? run_throughput(group, options, layer)
                                                             : run_scheduled(group, options, layer);
}

}  // namespace braid::app
