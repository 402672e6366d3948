#include "conformance/throughput_case.hpp"

#include <fmt/format.h>

namespace braid::conformance {

std::string ThroughputCase::name() const {
  constexpr const char* kRows[] = {"bf16", "fp8", "fp8_given"};
  constexpr const char* kIn[] = {"tensors", "worst_case", "in_place", "worst_case_in_place"};
  return fmt::format("{}/{}/workers={}/alignment={}/biases={}/{}{}", kRows[static_cast<int>(rows)],
                     kIn[static_cast<int>(in)], workers, expert_alignment, num_biases,
                     !has_idx    ? "no_idx"
                     : int64_idx ? "i64"
                                 : "i32",
                     has_weights ? "/weights" : "");
}

// The other factors follow rows, outputs and workers.
std::vector<ThroughputCase> throughput_cases(int num_ranks) {
  constexpr int kAlignments[] = {1, 16, 128};
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
  const bool all = num_ranks < 2;
#else
  const bool all = num_ranks < 8;
#endif
  std::vector<ThroughputCase> cases;
  for (int rows = 0; rows < 3; ++rows) {
    for (int in = 0; in < 4; ++in) {
      for (int workers = 1; workers <= 3; ++workers) {
        if (!all && workers != 1 + (rows + in) % 3) continue;
        ThroughputCase c;
        c.rows = static_cast<RowsAre>(rows);
        c.in = static_cast<RowsIn>(in);
        c.workers = workers;
        c.expert_alignment = kAlignments[(rows + in + workers) % 3];
        c.num_biases = (2 * rows + in + workers) % 3;
        c.has_idx = (in + workers) % 3 != 0;
        c.int64_idx = (in + workers) % 3 == 1;
        c.has_weights = (rows + in) % 3 != 0;
        cases.push_back(c);
      }
    }
  }
  return cases;
}

HighThroughputOptions throughput_options(const Topology& topology) {
  HighThroughputOptions options;
  options.num_experts = topology.num_ranks * kLocalExperts;
  options.max_tokens = kThroughputTokens;
  options.hidden = kHidden;
  options.top_k = kTopK;
  options.handle_slots = 2;
  return options;
}

}  // namespace braid::conformance
