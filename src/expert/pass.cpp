#include "expert/pass.hpp"

#include <optional>
#include <utility>
#include <vector>

#include "base/check.hpp"
#include "expert/scratch.hpp"
#include "expert/steps.hpp"
#include "expert/validate.hpp"
#include "expert/worker_team.hpp"

namespace braid {
namespace expert {
namespace {

enum class Step { kUp, kActivate, kDown, kNone };

const char* to_string(Step step) {
  switch (step) {
    case Step::kUp: return "up";
    case Step::kActivate: return "activate";
    case Step::kDown: return "down";
    case Step::kNone: break;
  }
  return "none";
}

void check_order(Step step, Step next) {
  if (step == next) return;
  if (next == Step::kNone) {
    fail(ErrorCode::kRefused, "the pass has ended, but {} was called", to_string(step));
  }
  fail(ErrorCode::kRefused, "the pass's next step is {}, but {} was called", to_string(next),
       to_string(step));
}

}  // namespace

struct PassState {
  PassState(const ExpertInput& given, const Job& of, ScratchPool& pool)
      : input(given), job(of), how(*of.how), scratch(pool) {
    job.how = &how;
  }

  void start(Step step, int num_workers);
  void cut();
  // A team for the step that was started.
  WorkerTeam team();

  ExpertInput input;
  Job job;
  ExpertRun how;
  BorrowedScratch scratch;
  Step next = Step::kUp;
  std::vector<Wave> waves;         // one with all blocks, or none
  std::optional<WaveSteps> steps;  // of that one

 private:
  ScratchShape shape() const {
    return {job.hidden, job.width, job.block_rows, std::ssize(waves[0].blocks), how.num_workers};
  }
};

void PassState::start(Step step, int num_workers) {
  check_order(step, next);
  check_workers(num_workers);
  if (step == Step::kUp) check_rows(input, job.output, how);
  next = static_cast<Step>(static_cast<int>(step) + 1);
  how.num_workers = num_workers;
}

void PassState::cut() {
  waves = cut_into_waves(input.counts, how.begin, how.end, {job.block_rows, kAllBlocks});
  if (waves.empty()) return;
  (*scratch).reserve(shape());
  steps.emplace(job, waves[0], *scratch);
}

WorkerTeam PassState::team() {
  (*scratch).reserve_workers(shape());
  return WorkerTeam(how.num_workers);
}

}  // namespace expert

using expert::Step;
using expert::WorkerTeam;

ExpertPass::ExpertPass(const ExpertFfn& ffn, const ExpertInput& input, const ExpertOutput& output,
                       const ExpertRange& range) {
  const ExpertRun how{.begin = range.begin, .end = range.end};
  expert::check_call(ffn, input, output, how);
  state_ = std::make_unique<expert::PassState>(input, ffn.job(input, output, how), *ffn.scratch_);
}

ExpertPass::~ExpertPass() = default;

void ExpertPass::up(int num_workers) {
  state_->start(Step::kUp, num_workers);
  state_->cut();
  if (!state_->steps) return;
  WorkerTeam team = state_->team();
  state_->steps->unpack(team);
  state_->steps->up(team);
}

void ExpertPass::activate(int num_workers) {
  state_->start(Step::kActivate, num_workers);
  if (!state_->steps) return;
  WorkerTeam team = state_->team();
  state_->steps->activate(team);
}

void ExpertPass::down(int num_workers, std::function<void(int expert, int block)> on_block) {
  state_->start(Step::kDown, num_workers);
  state_->how.on_block = std::move(on_block);
  if (!state_->steps) return;
  WorkerTeam team = state_->team();
  state_->steps->down(team);
}

}  // namespace braid
