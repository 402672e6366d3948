#include "app/rank_result.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <nlohmann/json.hpp>

#include "app/hash.hpp"
#include "app/stats.hpp"
#include "codec/bfloat16.hpp"

namespace braid::app {
namespace {

using nlohmann::json;

constexpr std::array kSteps = {&StepTimes::gate,    &StepTimes::dispatch, &StepTimes::experts,
                               &StepTimes::combine, &StepTimes::shared,   &StepTimes::total,
                               &StepTimes::layout};
constexpr std::array kLinks = {&Traffic::local, &Traffic::scale_up, &Traffic::scale_out};

json to_json(const Traffic& traffic) {
  json counts = json::array();
  for (const auto link : kLinks) {
    counts.push_back((traffic.*link).bytes);
    counts.push_back((traffic.*link).messages);
  }
  return counts;
}

Traffic traffic_from(const json& counts) {
  Traffic traffic;
  for (std::size_t i = 0; i < kLinks.size(); ++i) {
    traffic.*kLinks[i] = {counts.at(2 * i).get<std::uint64_t>(),
                          counts.at(2 * i + 1).get<std::uint64_t>()};
  }
  return traffic;
}

void add(Traffic& sum, const Traffic& part) {
  for (const auto link : kLinks) {
    (sum.*link).bytes += (part.*link).bytes;
    (sum.*link).messages += (part.*link).messages;
  }
}

void divide(Traffic& sum, int num_operations) {
  const auto divisor = static_cast<std::uint64_t>(std::max(num_operations, 1));
  for (const auto link : kLinks) {
    (sum.*link).bytes /= divisor;
    (sum.*link).messages /= divisor;
  }
}

json to_json(const GpuTimes& gpu) {
  json all = {{"device", gpu.device},
              {"send_workers", gpu.send_workers},
              {"receive_workers", gpu.receive_workers},
              {"graph_operations", gpu.graph_operations}};
  for (const auto& [name, figure] : kGpuFigures) all[name] = gpu.*figure;
  return all;
}

GpuTimes gpu_times_from(const json& all) {
  GpuTimes gpu;
  gpu.device = all.at("device").get<std::string>();
  gpu.send_workers = all.at("send_workers").get<int>();
  gpu.receive_workers = all.at("receive_workers").get<int>();
  gpu.graph_operations = all.at("graph_operations").get<int>();
  for (const auto& [name, figure] : kGpuFigures) {
    gpu.*figure = all.at(name).get<std::vector<double>>();
  }
  return gpu;
}

json to_json(const std::vector<StepTimes>& all) {
  json times = json::array();
  for (const StepTimes& time : all) {
    json steps = json::array();
    for (const auto step : kSteps) steps.push_back(time.*step);
    times.push_back(std::move(steps));
  }
  return times;
}

std::vector<StepTimes> step_times_from(const json& all) {
  std::vector<StepTimes> times;
  for (const json& steps : all) {
    StepTimes& time = times.emplace_back();
    for (std::size_t i = 0; i < kSteps.size(); ++i) time.*kSteps[i] = steps.at(i).get<double>();
  }
  return times;
}

json to_json(const std::vector<OperationTime>& all) {
  json times = json::array();
  for (const OperationTime& time : all) times.push_back({time.start_us, time.end_us});
  return times;
}

std::vector<OperationTime> operation_times_from(const json& all) {
  std::vector<OperationTime> times;
  for (const json& time : all) times.push_back({time.at(0), time.at(1)});
  return times;
}

std::vector<double> slowest_of(const std::vector<RankResult>& results, TimesOfRank times,
                               double StepTimes::*step) {
  std::vector<double> all;
  for (std::size_t repeat = 0; repeat < times(results.front()).size(); ++repeat) {
    double most = 0;
    for (const RankResult& result : results) most = std::max(most, times(result)[repeat].*step);
    all.push_back(most);
  }
  return all;
}

const std::vector<StepTimes>& own_times(const RankResult& result) { return result.times; }

}  // namespace

std::string serialize(const RankResult& result) {
  json all = {{"times", to_json(result.times)},
              {"dispatch", to_json(result.traffic.dispatch)},
              {"combine", to_json(result.traffic.combine)},
              {"operations", result.num_operations},
              {"tokens_per_expert", result.tokens_per_expert},
              {"repeats_equal", result.repeats_equal},
              {"output", json::binary({result.output.begin(), result.output.end()})}};
  all["operation_times"] = to_json(result.operation_times);
  all["split_agreed"] = result.split_agreed;
  if (result.sequential) {
    all["sequential"] = {{"equal", result.sequential->equal},
                         {"times", to_json(result.sequential->times)},
                         {"operation_times", to_json(result.sequential->operation_times)}};
  }
  if (result.rows_as_sent) all["rows_as_sent"] = *result.rows_as_sent;
  if (result.gpu) all["gpu"] = to_json(*result.gpu);
  std::string bytes;
  json::to_cbor(all, bytes);
  return bytes;
}

RankResult deserialize(const std::string& bytes) {
  const json all = json::from_cbor(bytes);
  RankResult result;
  result.times = step_times_from(all.at("times"));
  result.traffic = {traffic_from(all.at("dispatch")), traffic_from(all.at("combine"))};
  result.num_operations = all.at("operations").get<int>();
  result.tokens_per_expert = all.at("tokens_per_expert").get<std::vector<std::int64_t>>();
  result.repeats_equal = all.at("repeats_equal").get<bool>();
  const json::binary_t& output = all.at("output").get_binary();
  result.output.assign(output.begin(), output.end());
  result.operation_times = operation_times_from(all.at("operation_times"));
  result.split_agreed = all.at("split_agreed").get<bool>();
  if (all.contains("sequential")) {
    const json& sequential = all.at("sequential");
    result.sequential = {sequential.at("equal").get<bool>(),
                         step_times_from(sequential.at("times")),
                         operation_times_from(sequential.at("operation_times"))};
  }
  if (all.contains("rows_as_sent")) result.rows_as_sent = all.at("rows_as_sent").get<bool>();
  if (all.contains("gpu")) result.gpu = gpu_times_from(all.at("gpu"));
  return result;
}

std::vector<double> slowest(const std::vector<RankResult>& results, double StepTimes::*step) {
  return slowest_of(results, own_times, step);
}

StepTimes median_times(const std::vector<RankResult>& results, TimesOfRank times) {
  StepTimes median;
  for (const auto step : kSteps) median.*step = percentile(slowest_of(results, times, step), 0.5);
  return median;
}

std::vector<double> slowest(const std::vector<RankResult>& results,
                            std::vector<double> GpuTimes::*figure) {
  std::vector<double> times = (*results.front().gpu).*figure;
  for (const RankResult& result : results) {
    const std::vector<double>& its = (*result.gpu).*figure;
    for (std::size_t i = 0; i < times.size(); ++i) times[i] = std::max(times[i], its.at(i));
  }
  return times;
}

Summary summarize(const std::vector<RankResult>& results) {
  Summary summary;
  summary.time = median_times(results, own_times);
  Sha256 hash;
  for (const RankResult& result : results) {
    add(summary.traffic.dispatch, result.traffic.dispatch);
    add(summary.traffic.combine, result.traffic.combine);
    summary.tokens_per_expert.insert(summary.tokens_per_expert.end(),
                                     result.tokens_per_expert.begin(),
                                     result.tokens_per_expert.end());
    summary.repeats_equal = summary.repeats_equal && result.repeats_equal;
    if (result.rows_as_sent) {
      summary.rows_as_sent = summary.rows_as_sent.value_or(true) && *result.rows_as_sent;
    }
    hash.update(result.output.data(), result.output.size());
    for (std::size_t at = 0; at < result.output.size(); at += 2) {
      std::uint16_t value = 0;
      std::memcpy(&value, result.output.data() + at, sizeof value);
      summary.output.push_back(codec::bf16_to_float(value));
    }
  }
  // Every operation of a run moves the same, so the division leaves nothing over.
  divide(summary.traffic.dispatch, results.front().num_operations);
  divide(summary.traffic.combine, results.front().num_operations);
  summary.output_sha256 = hash.finish();
  return summary;
}

}  // namespace braid::app
