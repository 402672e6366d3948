#include "expert/expert.hpp"

#include <utility>

#include "base/math.hpp"
#include "expert/scratch.hpp"
#include "expert/steps.hpp"
#include "expert/validate.hpp"
#include "expert/worker_team.hpp"

namespace braid {
namespace {

using expert::Job;
using expert::ScratchPool;
using expert::Wave;
using expert::WaveSteps;
using expert::WorkerTeam;

void run_wave(WorkerTeam& team, WaveSteps steps) {
  steps.unpack(team);
  steps.up(team);
  steps.activate(team);
  steps.down(team);
}

void run_waves(const Job& job, const std::vector<Wave>& waves, ScratchPool& pool) {
  if (waves.empty()) return;
  std::size_t num_blocks = 0;
  for (const Wave& wave : waves) num_blocks = max_of(num_blocks, wave.blocks.size());
  WorkerTeam team(job.how->num_workers);
  const expert::BorrowedScratch scratch(pool);
  (*scratch).reserve({job.hidden, job.width, job.block_rows, static_cast<std::int64_t>(num_blocks),
                      team.num_workers()});
  for (const Wave& wave : waves) run_wave(team, WaveSteps(job, wave, *scratch));
}

}  // namespace

ExpertFfn::ExpertFfn(std::vector<ExpertWeights> experts, ExpertOptions options)
    : experts_(std::move(experts)), options_(options), scratch_(std::make_unique<ScratchPool>()) {
  expert::check_options(options_);
  expert::panel_gemm(options_.engine);
  expert::check_weights(experts_);
  hidden_ = static_cast<int>(experts_[0].gate.cols);
  width_ = static_cast<int>(experts_[0].gate.rows);
}

ExpertFfn::~ExpertFfn() = default;

Job ExpertFfn::job(const ExpertInput& input, const ExpertOutput& output,
                   const ExpertRun& how) const {
  return {.experts = &experts_,
          .gemm = expert::panel_gemm(options_.engine),
          .hidden = hidden_,
          .width = width_,
          .block_rows = options_.block_rows,
          .row_capacity = input.row_capacity,
          .rows = expert::RowReader(input),
          .output = output,
          .how = &how};
}

void ExpertFfn::run(const ExpertInput& input, const ExpertOutput& output,
                    const ExpertRun& how) const {
  expert::check_run(*this, input, output, how);
  run_waves(job(input, output, how),
            expert::cut_into_waves(input.counts, how.begin, how.end,
                                   {options_.block_rows, options_.wave_blocks}),
            *scratch_);
}

void ExpertFfn::run_dense(const Tensor& x, float* out, int num_workers) const {
  expert::check_dense(*this, x, out, num_workers);
  const auto count = static_cast<std::int32_t>(x.dim(0));
  const ExpertRun how{.begin = 0, .end = 1, .num_workers = num_workers};
  const Job job{.experts = &experts_,
                .gemm = expert::panel_gemm(options_.engine),
                .hidden = hidden_,
                .width = width_,
                .block_rows = options_.block_rows,
                .row_capacity = count,
                .rows = expert::RowReader(x),
                .output = {.rows = out, .dtype = DType::kFloat32, .first_expert = 0},
                .how = &how};
  run_waves(job, expert::cut_into_waves(&count, 0, 1, {options_.block_rows, options_.wave_blocks}),
            *scratch_);
}

}  // namespace braid
