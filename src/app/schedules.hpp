// The methods of overlap by name, with what the command line says of them.
#pragma once

#include <string>

#include "braid/overlap.hpp"

namespace braid::app {

struct ScheduleOptions {
  std::string schedule = "sequential";  // one of kSchedules
  int rounds = 0;                       // 0: 4 with per-expert overlap where it divides, else 1
  // SMs, workers on the CPU; 0: the builder's own, or what suits the device.
  int send_sms = 0, receive_sms = 0, up_gemm_sms = 0, down_gemm_sms = 0;
  int block_rows = 64;
  int comm_sms = 0;
  std::string program;  // two-batch overlap; empty: the layer's decode
  int delta_stages = -1;
  int layers = 3;  // that two-batch overlap runs through, one behind another
};

inline constexpr const char* kSchedules = "sequential|peo-1|peo-2|peo-3|peo-4|sbo|tbo";
// Throws kInvalidArgument listing what there is.
void check_schedule(const std::string& name);
bool is_per_expert(const std::string& schedule);

// What 0 rounds become for a rank of so many experts.
int default_rounds(const std::string& schedule, int local_experts);
// The decode program of a layer with or without a shared expert.
std::string default_program(const LayerParts& parts);

// With every default filled in. Throw kInvalidArgument naming the option.
Schedule make_schedule(const ScheduleOptions& options, const LayerParts& parts);
// What it is measured by: the same operations without overlap.
Schedule make_sequential(const ScheduleOptions& options, const LayerParts& parts);

}  // namespace braid::app
