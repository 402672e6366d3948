#include "cli/json_report.hpp"

#include <string>

#include "app/build_info.hpp"

namespace braid::cli {
namespace {

void add_options(Json& report, const app::CommunicationOptions& options) {
  const Topology topology = options.topology();
  report["ranks"] = topology.num_ranks;
  report["ranks_per_node"] = topology.ranks_per_node;
  report["processes"] = options.processes;
  report["mode"] = to_string(options.mode);
  report["rows"] = to_string(options.rows());
  report["alignment"] = options.alignment();
  report["path"] = app::kPath;
  report["fan_out"] = to_string(options.resolved_fan_out());
  report["fan_out_requested"] = to_string(options.fan_out);
  report["reduce"] = to_string(options.reduce());
  report["dispatch"] = to_string(options.dispatch);
  report["scales"] = to_string(options.scales);
  report["combine"] = to_string(options.combine);
  report["rounds"] = options.rounds;
  report["workers"] = options.resolved_workers();
  report["seed"] = options.seed;
}

// {"scale_up": sum, "scale_up_dispatch": ..., "scale_up_combine": ..., and so on} of one field.
Json counts_json(const app::OperationTraffic& traffic, std::uint64_t Traffic::Count::*field) {
  Json counts = Json::object();
  const auto add = [&](const std::string& name, Traffic::Count Traffic::*link) {
    const std::uint64_t dispatch = traffic.dispatch.*link.*field;
    const std::uint64_t combine = traffic.combine.*link.*field;
    counts[name] = dispatch + combine;
    counts[name + "_dispatch"] = dispatch;
    counts[name + "_combine"] = combine;
  };
  add("scale_up", &Traffic::scale_up);
  add("scale_out", &Traffic::scale_out);
  add("local", &Traffic::local);
  return counts;
}

Json comparisons_json(const std::vector<app::Comparison>& comparisons) {
  Json list = Json::array();
  for (const app::Comparison& comparison : comparisons) {
    list.push_back({{"name", comparison.name},
                    {"diff", comparison.diff},
                    {"limit", comparison.limit},
                    {"holds", comparison.holds()}});
  }
  return list;
}

template <class Report>
void add_check(Json& json, const Report& report) {
  json["verified"] = report.verified;
  json["reference"] = report.reference;
  json["diff"] = report.comparisons.front().diff;
  json["comparisons"] = comparisons_json(report.comparisons);
  json["repeats_equal"] = report.repeats_equal;
}

template <class Report>
void add_traffic(Json& json, const Report& report) {
  json["bytes"] = counts_json(report.traffic, &Traffic::Count::bytes);
  json["messages"] = counts_json(report.traffic, &Traffic::Count::messages);
  json["tokens_per_expert"] = report.tokens_per_expert;
}

Json latency_json(const app::Latency& latency) {
  return {{"p50", latency.p50},
          {"p99", latency.p99},
          {"max", latency.max},
          {"gigabytes_per_second", latency.gigabytes_per_second}};
}

void add_gpu(Json& json, const app::CommunicationOptions& options, const app::GpuReport& gpu) {
  json["backend"] = to_string(Backend::kCuda);
  json["devices"] = gpu.devices;
  json["send_workers"] = gpu.send_workers;
  json["receive_workers"] = gpu.receive_workers;
  json["input"] = to_string(options.gpu_input());
  json["sets"] = gpu.sets;
  json["graph_operations"] = gpu.graph_operations;
  for (const app::GpuFigure& figure : gpu.figures) {
    json[figure.name + "_us"] = {{"p50", figure.p50}, {"p99", figure.p99}, {"min", figure.min}};
  }
}

Json regions_json(const std::vector<MemoryRegion>& regions) {
  Json list = Json::array();
  for (const MemoryRegion& region : regions) {
    list.push_back({{"name", region.name},
                    {"offset", region.offset},
                    {"bytes", region.bytes},
                    {"purpose", region.purpose}});
  }
  return list;
}

}  // namespace

Json build_json() {
  const app::BuildInfo build = app::build_info();
  return {{"version", build.version},
          {"compiler", build.compiler},
          {"type", build.type},
          {"sanitizer", build.sanitizer.empty() ? Json(nullptr) : Json(build.sanitizer)},
          {"git_commit", build.git_commit.empty() ? Json(nullptr) : Json(build.git_commit)}};
}

namespace {

Json times_json(const app::StepTimes& time) {
  return {{"total", time.total},     {"gate", time.gate},       {"dispatch", time.dispatch},
          {"experts", time.experts}, {"combine", time.combine}, {"shared", time.shared}};
}

void add_schedule(Json& json, const app::RunReport& report) {
  const app::ScheduleOptions& overlap = report.options.overlap;
  json["schedule"] = overlap.schedule;
  if (overlap.schedule == "tbo") {
    json["program"] = overlap.program;
    json["two_batches"] = report.split_agreed;
  }
  if (!report.sequential) return;
  json["equals_sequential"] = report.sequential->equal;
  json["sequential_time_us"] = times_json(report.sequential->time);
}

}  // namespace

Json to_json(const app::RunReport& report) {
  Json json = {{"command", "run"}};
  add_check(json, report);
  json["layer"] = report.options.layer;
  json["layer_index"] = *report.options.layer_index;
  json["family"] = report.family;
  json["hidden"] = report.shape.hidden;
  json["experts"] = report.shape.experts;
  json["topk"] = report.shape.top_k;
  json["tokens"] = report.options.tokens;
  json["repeat"] = report.options.repeat;
  add_options(json, report.options.communication);
  add_schedule(json, report);
  add_traffic(json, report);
  json["time_us"] = times_json(report.time);
  if (report.options.communication.mode == app::Mode::kHighThroughput) {
    json["time_us"]["layout"] = report.time.layout;
  }
  json["output_sha256"] = report.output_sha256;
  json["build"] = build_json();
  return json;
}

Json to_json(const app::BenchReport& report) {
  Json json = {{"command", "bench"}};
  add_check(json, report);
  json["hidden"] = report.options.hidden;
  json["experts"] = report.options.experts;
  json["topk"] = report.options.top_k;
  json["routing"] = report.options.routing;
  json["tokens"] = report.options.tokens;
  json["repeat"] = report.options.repeat;
  add_options(json, report.options.communication);
  if (report.gpu) {
    json["tokens_per_expert"] = report.tokens_per_expert;
    add_gpu(json, report.options.communication, *report.gpu);
  } else {
    add_traffic(json, report);
    json["time_us"] = {{"total", report.total_p50},
                       {"dispatch", report.dispatch.p50},
                       {"experts", 0.0},
                       {"combine", report.combine.p50}};
    if (report.layout) json["layout_us"] = latency_json(*report.layout);
    json["dispatch_us"] = latency_json(report.dispatch);
    json["combine_us"] = latency_json(report.combine);
  }
  json["output_sha256"] = report.output_sha256;
  json["build"] = build_json();
  return json;
}

Json to_json(const app::PlanOptions& options, const MemoryPlan& plan) {
  const BufferOptions& buffer = options.buffer;
  return {{"command", "plan"},
          {"mode", to_string(options.mode)},
          {"ranks", options.topology.num_ranks},
          {"ranks_per_node", options.topology.ranks_per_node},
          {"experts", buffer.num_experts},
          {"tokens", buffer.max_tokens},
          {"hidden", buffer.hidden},
          {"topk", buffer.top_k},
          {"depth", options.mode == app::Mode::kHighThroughput ? options.high_throughput().depth
                                                               : buffer.depth},
          {"rounds", buffer.max_rounds},
          {"rows", to_string(options.rows())},
          {"fan_out", to_string(buffer.allow_per_expert ? FanOut::kPerExpert : FanOut::kPerRank)},
          {"dispatch", to_string(buffer.widest_dispatch)},
          {"combine_regions", buffer.combine_regions},
          {"few_tokens", buffer.few_tokens},
          {"symmetric_bytes", plan.symmetric_bytes},
          {"local_bytes", plan.local_bytes},
          {"symmetric", regions_json(plan.symmetric)},
          {"local", regions_json(plan.local)},
          {"build", build_json()}};
}

}  // namespace braid::cli
