// One call of the experts in three steps, so that a schedule can place them and give each its own
// workers. The same bits as ExpertFfn::run.
//
// Memory: the intermediates of the whole range live from up() until the pass is destroyed. For each
// block of ExpertOptions::block_rows rows that is block_rows * (hidden + 2 * width) floats, and
// 32 * max(hidden, width) a worker. ExpertFfn keeps the memory for the next pass or run.
#pragma once

#include <functional>
#include <memory>

#include "expert/expert.hpp"

namespace braid {

namespace expert {
struct PassState;
}

struct ExpertRange {
  int begin = 0;  // local experts [begin, end)
  int end = 0;
};

class ExpertPass {
 public:
  // ffn, and what input and output point to, outlive the pass. Counts and rows are first looked at
  // by up(): a dispatch's receive, say, may write them in between. Throws kInvalidArgument as
  // ExpertFfn::run does, for all but the counts.
  ExpertPass(const ExpertFfn& ffn, const ExpertInput& input, const ExpertOutput& output,
             const ExpertRange& range);
  ~ExpertPass();
  ExpertPass(const ExpertPass&) = delete;
  ExpertPass& operator=(const ExpertPass&) = delete;

  // In this order, each once, else kRefused; by any threads, one after the other. Each blocks until
  // done. A step that was refused for its arguments is still to come.
  void up(int num_workers);  // rows unpacked, gate and up projection
  void activate(int num_workers);
  // on_block: as ExpertRun's.
  void down(int num_workers, std::function<void(int expert, int block)> on_block = {});

 private:
  std::unique_ptr<expert::PassState> state_;
};

}  // namespace braid
