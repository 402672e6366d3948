// Bad input is refused here, before any work, by one sentence each.
#pragma once

#include <vector>

#include "expert/expert.hpp"

namespace braid::expert {

void check_options(const ExpertOptions& options);
void check_weights(const std::vector<ExpertWeights>& experts);
void check_workers(int num_workers);
void check_run(const ExpertFfn& ffn, const ExpertInput& input, const ExpertOutput& output,
               const ExpertRun& how);
// The parts of check_run: what is known before the counts are written, and the rest.
void check_call(const ExpertFfn& ffn, const ExpertInput& input, const ExpertOutput& output,
                const ExpertRun& how);
void check_rows(const ExpertInput& input, const ExpertOutput& output, const ExpertRun& how);
void check_dense(const ExpertFfn& ffn, const Tensor& x, const float* out, int num_workers);

}  // namespace braid::expert
