// What one rank found, and how it travels from a rank that is a process of its own.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "app/report.hpp"

namespace braid::app {

struct RankResult {
  std::vector<StepTimes> times;                 // of each timed repeat
  OperationTraffic traffic;                     // of all operations together
  int num_operations = 0;                       // dispatches, and as many combines
  std::vector<std::int64_t> tokens_per_expert;  // local experts, rows of one dispatch
  bool repeats_equal = true;
  std::string output;  // BF16 [n, hidden], as bytes
};

std::string serialize(const RankResult& result);
// Only for what serialize() returned.
RankResult deserialize(const std::string& bytes);

// All ranks' results together, in rank order.
struct Summary {
  // p50 over repeats of the slowest rank's time.
  StepTimes time;
  OperationTraffic traffic;  // of one operation
  std::vector<std::int64_t> tokens_per_expert;
  bool repeats_equal = true;
  std::string output_sha256;
  std::vector<float> output;  // [tokens, hidden]
};
Summary summarize(const std::vector<RankResult>& results);

// The slowest rank's time of one step, for each repeat.
std::vector<double> slowest(const std::vector<RankResult>& results, double StepTimes::*step);

}  // namespace braid::app
