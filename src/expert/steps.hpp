// The network as four steps over (expert, row block) units. Each step is a number of items that
// are independent of each other, which a team shares; a step starts after the one before has ended.
//
//   unpack     item: a block            rows to f32, tokens as the fastest axis
//   up         item: an expert's panel  gate and up projection of all the wave's blocks
//   activate   item: some channels      silu(gate) * up (where an intermediate would be quantized)
//   down       item: an expert's panel  rows of the output, and the signal that a block is done
#pragma once

#include <cstdint>
#include <vector>

#include "expert/expert.hpp"
#include "expert/panel_gemm.hpp"
#include "expert/row_reader.hpp"
#include "expert/scratch.hpp"
#include "expert/wave.hpp"
#include "expert/worker_team.hpp"

namespace braid::expert {

// All that stays the same during a call.
struct Job {
  const std::vector<ExpertWeights>* experts = nullptr;
  PanelGemm gemm = nullptr;
  int hidden = 0;
  int width = 0;
  int block_rows = 0;
  std::int64_t row_capacity = 0;
  RowReader rows;
  ExpertOutput output;
  const ExpertRun* how = nullptr;
};

class WaveSteps {
 public:
  WaveSteps(const Job& job, const Wave& wave, Scratch& scratch);

  void unpack(WorkerTeam& team);
  void up(WorkerTeam& team);
  void activate(WorkerTeam& team);
  void down(WorkerTeam& team);

 private:
  void unpack_block(std::int64_t item, int worker);
  void up_panel(std::int64_t item, int worker);
  void activate_part(std::int64_t item);
  void down_panel(std::int64_t item, int worker);
  const ExpertWeights& weights_of(int expert) const;
  PanelShape shape_of(std::int64_t depth) const { return {depth, job_.block_rows}; }
  void store_tile(const Block& block, std::int64_t channel, const float* tile) const;

  const Job& job_;
  const Wave& wave_;
  Scratch& scratch_;
  std::int64_t up_panels_;
  std::int64_t activate_parts_;
  std::int64_t down_panels_;
};

}  // namespace braid::expert
