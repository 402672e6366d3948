#include "app/run_schedules.hpp"

#include <algorithm>
#include <string>
#include <vector>

#include "base/check.hpp"

namespace braid::app {
namespace {

LayerParts parts_of(const RunOptions& options, const LayerCase& layer) {
  return {.device_sms = options.communication.resolved_workers(),
          .shared_expert = layer.layer.shared.has_value(),
          .reduce = options.communication.reduce()};
}

constexpr int kMostWorkers = 1024;

// Budgets that were given are the schedule's, and of a size that threads can be made of.
void check_budgets(const ScheduleOptions& overlap) {
  const bool rounds = is_per_expert(overlap.schedule);
  const bool beside = overlap.schedule == "sbo" || overlap.schedule == "tbo";
  const auto check = [&](const char* option, int workers, bool takes) {
    require(workers == 0 || takes, "{} is {}, but --schedule {} doesn't take it", option, workers,
            overlap.schedule);
    require(workers <= kMostWorkers, "{} is {}, but must be at most {}", option, workers,
            kMostWorkers);
  };
  check("--send-sms", overlap.send_sms, rounds);
  check("--recv-sms", overlap.receive_sms, rounds);
  check("--up-gemm-sms", overlap.up_gemm_sms, rounds);
  check("--down-gemm-sms", overlap.down_gemm_sms, rounds);
  check("--comm-sms", overlap.comm_sms, beside);
}

// Fewest workers with which the schedule can do what it overlaps at once.
int least_workers(const ScheduleOptions& overlap) {
  const int gemm = std::max({1, overlap.up_gemm_sms, overlap.down_gemm_sms});
  if (overlap.schedule == "sbo" || overlap.schedule == "tbo") return overlap.comm_sms + 1;
  if (!is_per_expert(overlap.schedule)) return 1;
  const int phases = overlap.schedule == "peo-3" ? overlap.send_sms + overlap.receive_sms
                                                 : std::max(overlap.send_sms, overlap.receive_sms);
  return phases + gemm;
}

void check_program(const ScheduleOptions& overlap, const LayerCase& layer) {
  const Program program = find_program(overlap.program);
  if (program.high_throughput) {
    std::vector<std::string> others;
    for (const std::string& name : program_names()) {
      if (!find_program(name).high_throughput) others.push_back(name);
    }
    fail(ErrorCode::kInvalidArgument,
         "--program is {}, which communicates in high throughput, but run overlaps the low-latency "
         "ones: {}",
         program.name, fmt::join(others, ", "));
  }
  const bool has_shared = std::any_of(
      program.steps.begin(), program.steps.end(),
      [](const ProgramStep& step) { return step.operation == OperationKind::kSharedExpert; });
  require(has_shared || !layer.layer.shared,
          "--program is {}, which has no shared expert, but this layer has one", program.name);
}

void check_blocks(const ScheduleOptions& overlap) {
  constexpr int kStep = 16, kMost = 256;
  require(
      overlap.block_rows % kStep == 0 && overlap.block_rows <= kMost,
      "--block-m is {}, but the experts of the CPU signal blocks of a multiple of {} rows, up to "
      "{}",
      overlap.block_rows, kStep, kMost);
}

void check_high_throughput(const RunOptions& options) {
  require(options.overlap.schedule.empty() || options.overlap.schedule == "sequential",
          "--schedule is {}, but --mode high_throughput runs sequential only",
          options.overlap.schedule);
}

}  // namespace

RunOptions resolved(const RunOptions& options, const LayerCase& layer) {
  RunOptions all = options;
  CommunicationOptions& communication = all.communication;
  ScheduleOptions& overlap = all.overlap;
  if (communication.mode == Mode::kHighThroughput) {
    check_high_throughput(options);
    overlap.schedule = "sequential";
    return all;
  }
  const bool chosen = !overlap.schedule.empty();
  if (!chosen) overlap.schedule = communication.rounds > 1 ? "peo-1" : "sequential";
  if (!communication.rounds_given) {
    const int local_experts = layer.shape.experts / communication.ranks;
    require(!is_per_expert(overlap.schedule) || local_experts >= 2,
            "--schedule {} takes a rank's experts in rounds, but --ranks {} leaves it {}",
            overlap.schedule, communication.ranks, local_experts);
    communication.rounds = default_rounds(overlap.schedule, local_experts);
  }
  require(
      communication.rounds == 1 || (overlap.schedule != "sequential" && overlap.schedule != "sbo"),
      "--rounds is {}, but --schedule {} has one", communication.rounds, overlap.schedule);
  overlap.rounds = communication.rounds;
  check_budgets(overlap);
  for (int* budget : {&overlap.send_sms, &overlap.receive_sms, &overlap.comm_sms}) {
    if (*budget == 0) *budget = 1;
  }
  if (overlap.program.empty()) overlap.program = default_program(parts_of(all, layer));
  if (overlap.delta_stages < 0) overlap.delta_stages = find_program(overlap.program).delta_stages;
  const int least = least_workers(overlap);
  if (communication.workers == 0 || !chosen) {
    communication.workers = std::max(communication.workers, least);
  }
  require(communication.workers >= least,
          "--workers is {}, but --schedule {} overlaps what takes {} workers",
          communication.workers, overlap.schedule, least);
  check(communication, layer.shape);
  check_blocks(overlap);
  if (overlap.schedule == "tbo") check_program(overlap, layer);
  run_schedules(all, layer);  // refuses what can't be
  return all;
}

bool equals_sequential(const CommunicationOptions& options) {
  return options.reduce() == Reduce::kTokenRank || options.rounds == 1;
}

RunSchedules run_schedules(const RunOptions& options, const LayerCase& layer) {
  const LayerParts parts = parts_of(options, layer);
  return {make_schedule(options.overlap, parts), make_sequential(options.overlap, parts),
          options.overlap.schedule == "tbo" ? 2 : 1};
}

}  // namespace braid::app
