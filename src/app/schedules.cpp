#include "app/schedules.hpp"

#include <sstream>

#include "base/check.hpp"

namespace braid::app {
namespace {

constexpr int kDefaultRounds = 4;

void check_budget(const char* option, int sms, int device) {
  require(sms <= device, "{} is {}, but the device has {} SMs", option, sms, device);
}

TwoBatchOptions two_batch_options(const ScheduleOptions& options, const LayerParts& parts) {
  const Program program = find_program(options.program);
  return {.programs = {program, program},
          .delta_stages = options.delta_stages,
          .layers = options.layers,
          .device_sms = parts.device_sms,
          .comm_sms = options.comm_sms,
          .rounds = options.rounds,
          .reduce = parts.reduce};
}

}  // namespace

void check_schedule(const std::string& name) {
  std::istringstream all(kSchedules);
  for (std::string each; std::getline(all, each, '|');) {
    if (each == name) return;
  }
  fail(ErrorCode::kInvalidArgument, "schedule is '{}', but must be one of {}", name, kSchedules);
}

bool is_per_expert(const std::string& schedule) { return schedule.starts_with("peo-"); }

int default_rounds(const std::string& schedule, int local_experts) {
  if (!is_per_expert(schedule)) return 1;
  return local_experts % kDefaultRounds == 0 ? kDefaultRounds : 2;
}

std::string default_program(const LayerParts& parts) {
  return parts.shared_expert ? "deepseek-decode" : "qwen3-decode";
}

Schedule make_schedule(const ScheduleOptions& options, const LayerParts& parts) {
  const int device = parts.device_sms;
  check_budget("--send-sms", options.send_sms, device);
  check_budget("--recv-sms", options.receive_sms, device);
  check_budget("--up-gemm-sms", options.up_gemm_sms, device);
  check_budget("--down-gemm-sms", options.down_gemm_sms, device);
  check_budget("--comm-sms", options.comm_sms, device);
  if (is_per_expert(options.schedule)) {
    return per_expert_overlap({.parts = parts,
                               .method = options.schedule.back() - '0',
                               .rounds = options.rounds,
                               .send_sms = options.send_sms,
                               .receive_sms = options.receive_sms,
                               .up_gemm_sms = options.up_gemm_sms,
                               .down_gemm_sms = options.down_gemm_sms});
  }
  if (options.schedule == "sbo") {
    return single_batch_overlap(
        {.parts = parts, .block_rows = options.block_rows, .comm_sms = options.comm_sms});
  }
  if (options.schedule == "tbo") return two_batch_overlap(two_batch_options(options, parts));
  return sequential(parts);
}

Schedule make_sequential(const ScheduleOptions& options, const LayerParts& parts) {
  if (options.schedule != "tbo") return sequential(parts);
  return sequential_program(find_program(options.program), two_batch_options(options, parts));
}

}  // namespace braid::app
