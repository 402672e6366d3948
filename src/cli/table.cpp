#include "cli/table.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <numeric>

#include "app/run_schedules.hpp"
#include "cli/line.hpp"

namespace braid::cli {
namespace {

const char* plural(std::int64_t count) { return count == 1 ? "" : "s"; }

std::string workers_each(const app::CommunicationOptions& options) {
  const int send = options.send_budget();
  const int receive = options.receive_budget();
  if (send == receive) return fmt::format("{} worker{} each", send, plural(send));
  return fmt::format("{} workers each to send, {} to receive", send, receive);
}

// budget: "1 worker each".
void add_options(std::string& text, const app::CommunicationOptions& options,
                 const std::string& budget) {
  const Topology topology = options.topology();
  line(text, "{} rank{} ({}) in {} node{} of {}, {}, {} round{}", topology.num_ranks,
       plural(topology.num_ranks), options.processes ? "processes" : "threads",
       topology.num_nodes(), plural(topology.num_nodes()), topology.ranks_per_node, budget,
       options.rounds, plural(options.rounds));
  line(text, "{}, rows by {}, path {}, dispatch {} ({}), combine {} (summed at the {})",
       to_string(options.mode),
       options.expanded()
           ? fmt::format("{} in multiples of {}", to_string(options.rows()), options.alignment())
           : to_string(options.rows()),
       app::kPath, to_string(options.dispatch), to_string(options.resolved_fan_out()),
       to_string(options.combine), to_string(options.reduce()));
}

void add_traffic(std::string& text, const app::OperationTraffic& traffic) {
  line(text, "\n{:<23}{:>16}{:>10}{:>16}{:>10}", "all ranks, an operation", "dispatch bytes",
       "messages", "combine bytes", "messages");
  const auto row = [&](const char* name, Traffic::Count Traffic::*link) {
    const Traffic::Count dispatch = traffic.dispatch.*link;
    const Traffic::Count combine = traffic.combine.*link;
    line(text, "  {:<21}{:>16}{:>10}{:>16}{:>10}", name, dispatch.bytes, dispatch.messages,
         combine.bytes, combine.messages);
  };
  row("inside nodes", &Traffic::scale_up);
  row("between nodes", &Traffic::scale_out);
  row("to itself", &Traffic::local);
}

void add_experts(std::string& text, const std::vector<std::int64_t>& tokens) {
  if (tokens.empty()) return;
  const auto [least, most] = std::minmax_element(tokens.begin(), tokens.end());
  const auto sum = std::accumulate(tokens.begin(), tokens.end(), std::int64_t{0});
  line(text, "\ntokens per expert: min {}, mean {:.1f}, max {}", *least,
       static_cast<double>(sum) / static_cast<double>(tokens.size()), *most);
}

template <class Report>
void add_verdict(std::string& text, const Report& report) {
  for (const app::Comparison& comparison : report.comparisons) {
    line(text, "error against {}: {:.3g}, limit {:.3g}: {}", comparison.name, comparison.diff,
         comparison.limit, comparison.holds() ? "holds" : "TOO LARGE");
  }
  if (!report.repeats_equal) line(text, "repeats gave DIFFERENT BITS");
  line(text, "output sha256 {}", report.output_sha256);
  line(text, "{}", report.verified ? "VERIFIED" : "NOT VERIFIED");
}

const char* explained(const std::string& figure) {
  if (figure == "dispatch") return "dispatch, in a graph";
  if (figure == "dispatch_in_place") return "dispatch in place, calls in a row";
  if (figure == "layout") return "layout of a routing, in a graph";
  if (figure == "combine") return "combine, in a graph";
  if (figure == "pair") return "dispatch then combine, in a graph";
  if (figure == "launch_gap") return "a kernel that does nothing";
  if (figure == "dispatch_call") return "dispatch, calls in a row";
  if (figure == "combine_call") return "combine, calls in a row";
  if (figure == "dispatch_host") return "dispatch, until the call returns";
  if (figure == "dispatch_in_place_host") return "the same in place";
  return "combine, until the call returns";
}

void add_gpu(std::string& text, const app::BenchOptions& options, const app::GpuReport& gpu) {
  const bool one_budget = options.communication.mode == app::Mode::kHighThroughput;
  add_options(text, options.communication,
              one_budget ? fmt::format("{} SMs an operation", gpu.send_workers)
                         : fmt::format("{} SMs to send, {} to receive", gpu.send_workers,
                                       gpu.receive_workers));
  for (std::size_t rank = 0; rank < gpu.devices.size(); ++rank) {
    line(text, "rank {}: {}", rank, gpu.devices[rank]);
  }
  line(text, "{} sets of inputs and outputs in turn, {} operations in a graph", gpu.sets,
       gpu.graph_operations);
  if (one_budget) {
    line(
        text, "on a handle; tokens are given as {}{}", to_string(options.communication.gpu_input()),
        options.communication.gpu_input() == DispatchFormat::kBf16 ? "" : ", quantized beforehand");
  }
  line(text, "\nslowest rank, microseconds, of {:<6}{:>10}{:>12}{:>12}", options.repeat, "p50",
       "p99", "min");
  for (const app::GpuFigure& figure : gpu.figures) {
    line(text, "  {:<33}{:>10.2f}{:>12.2f}{:>12.2f}", explained(figure.name), figure.p50,
         figure.p99, figure.min);
  }
}

void add_regions(std::string& text, const std::vector<MemoryRegion>& regions) {
  std::size_t width = 0;
  for (const MemoryRegion& region : regions) width = std::max(width, region.name.size());
  line(text, "  {:<{}}  {:>14}  {:>14}  {}", "region", width, "offset", "bytes", "purpose");
  for (const MemoryRegion& region : regions) {
    line(text, "  {:<{}}  {:>14}  {:>14}  {}", region.name, width, region.offset, region.bytes,
         region.purpose);
  }
}

}  // namespace

namespace {

std::string verdict_on(const app::SequentialReport& sequential,
                       const app::CommunicationOptions& options) {
  if (sequential.equal) return "the same bits";
  return app::equals_sequential(options) ? "DIFFERENT BITS"
                                         : "other bits, as rounds round once more";
}

void add_schedule(std::string& text, const app::RunReport& report) {
  const app::ScheduleOptions& overlap = report.options.overlap;
  line(text, "schedule {}{}", overlap.schedule,
       overlap.schedule == "tbo" ? ", program " + overlap.program : "");
  if (!report.split_agreed) line(text, "the ranks did not agree to split: ran sequential instead");
  if (!report.sequential) return;
  line(text, "beside sequential: {:.1f} microseconds in all to its {:.1f}, {}", report.time.total,
       report.sequential->time.total, verdict_on(*report.sequential, report.options.communication));
}

}  // namespace

std::string to_table(const app::RunReport& report) {
  std::string text;
  const int tokens = report.options.tokens;
  line(text, "{}, layer {} ({}): {} experts, top-{}, hidden {}; {} token{}", report.options.layer,
       *report.options.layer_index, report.family, report.shape.experts, report.shape.top_k,
       report.shape.hidden, tokens, plural(tokens));
  add_options(text, report.options.communication, workers_each(report.options.communication));
  add_schedule(text, report);
  const int timed = std::max(report.options.repeat - 1, 1);
  line(text, "\ntime of the slowest rank, microseconds (p50 of {})", timed);
  const auto step = [&](const char* name, double time) {
    line(text, "  {:<12}{:>12.1f}", name, time);
  };
  step("gate", report.time.gate);
  if (report.options.communication.mode == app::Mode::kHighThroughput) {
    step("layout", report.time.layout);
  }
  step("dispatch", report.time.dispatch);
  step("experts", report.time.experts);
  step("combine", report.time.combine);
  step("shared", report.time.shared);
  step("total", report.time.total);
  add_traffic(text, report.traffic);
  add_experts(text, report.tokens_per_expert);
  add_verdict(text, report);
  return text;
}

std::string to_table(const app::BenchReport& report) {
  std::string text;
  const app::BenchOptions& options = report.options;
  line(text, "{} experts, top-{}, hidden {}, routing {}; {} token{} a rank", options.experts,
       options.top_k, options.hidden, options.routing, options.tokens, plural(options.tokens));
  if (report.gpu) {
    add_gpu(text, options, *report.gpu);
    add_experts(text, report.tokens_per_expert);
    add_verdict(text, report);
    return text;
  }
  add_options(text, options.communication, workers_each(options.communication));
  line(text, "\nslowest rank, microseconds, of {:<6}{:>10}{:>12}{:>12}{:>16}", options.repeat,
       "p50", "p99", "max", "GB/s a rank");
  const auto row = [&](const char* name, const app::Latency& latency) {
    line(text, "  {:<33}{:>10.1f}{:>12.1f}{:>12.1f}{:>16.2f}", name, latency.p50, latency.p99,
         latency.max, latency.gigabytes_per_second);
  };
  if (report.layout) row("layout, of a new routing", *report.layout);
  row("dispatch", report.dispatch);
  row("combine", report.combine);
  add_traffic(text, report.traffic);
  add_experts(text, report.tokens_per_expert);
  add_verdict(text, report);
  return text;
}

std::string to_table(const app::PlanOptions& options, const MemoryPlan& plan) {
  std::string text;
  const BufferOptions& buffer = options.buffer;
  line(text,
       "{}: R {} in nodes of {}, E {}, T {}, H {}, k {}, D {}, G up to {}, dispatch up to {}, {}, "
       "rows by {}",
       to_string(options.mode), options.topology.num_ranks, options.topology.ranks_per_node,
       buffer.num_experts, buffer.max_tokens, buffer.hidden, buffer.top_k,
       options.mode == app::Mode::kHighThroughput ? options.high_throughput().depth : buffer.depth,
       buffer.max_rounds, to_string(buffer.widest_dispatch),
       to_string(buffer.allow_per_expert ? FanOut::kPerExpert : FanOut::kPerRank),
       to_string(options.rows()));
  line(text, "\nsymmetric, on each rank, written by its peers: {} bytes", plan.symmetric_bytes);
  add_regions(text, plan.symmetric);
  line(text, "\nlocal, on each rank: {} bytes", plan.local_bytes);
  add_regions(text, plan.local);
  line(text, "\ntotal of a rank: {} bytes ({:.1f} MiB)", plan.symmetric_bytes + plan.local_bytes,
       static_cast<double>(plan.symmetric_bytes + plan.local_bytes) / (1 << 20));
  return text;
}

}  // namespace braid::cli
