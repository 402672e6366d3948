#include "expert/steps.hpp"

#include <algorithm>
#include <cmath>

#include "base/math.hpp"
#include "codec/bfloat16.hpp"
#include "expert/weight_panel.hpp"

namespace braid::expert {
namespace {

constexpr std::int64_t kActivateChannels = 128;  // of one item of the activation

float silu(float value) { return value / (1.0F + std::exp(-value)); }

// to[channel][lane] = from[lane][channel]; lanes without a row are zero. Channels in the outer
// loop keep what is written in a few cache lines, while each row is read ahead as a stream.
void turn_rows(const float* from, const Block& block, const PanelShape& shape, float* to) {
  for (std::int64_t channel = 0; channel < shape.depth; ++channel) {
    float* lanes = to + channel * shape.rows;
    for (int row = 0; row < block.num_rows; ++row) lanes[row] = from[row * shape.depth + channel];
    std::fill(lanes + block.num_rows, lanes + shape.rows, 0.0F);
  }
}

}  // namespace

WaveSteps::WaveSteps(const Job& job, const Wave& wave, Scratch& scratch)
    : job_(job),
      wave_(wave),
      scratch_(scratch),
      up_panels_(ceil_div(job.width, kPanelRows)),
      activate_parts_(ceil_div<std::int64_t>(job.width, kActivateChannels)),
      down_panels_(ceil_div(job.hidden, kPanelRows)) {
  for (std::size_t slot = 0; slot < wave.blocks.size(); ++slot) {
    scratch.panels_left[slot].store(down_panels_, std::memory_order_relaxed);
  }
}

void WaveSteps::unpack(WorkerTeam& team) {
  team.for_each(std::ssize(wave_.blocks),
                [&](auto item, int worker) { unpack_block(item, worker); });
}

void WaveSteps::up(WorkerTeam& team) {
  team.for_each(std::ssize(wave_.runs) * up_panels_,
                [&](auto item, int worker) { up_panel(item, worker); });
}

void WaveSteps::activate(WorkerTeam& team) {
  team.for_each(std::ssize(wave_.blocks) * activate_parts_,
                [&](auto item, int /*worker*/) { activate_part(item); });
}

void WaveSteps::down(WorkerTeam& team) {
  team.for_each(std::ssize(wave_.runs) * down_panels_,
                [&](auto item, int worker) { down_panel(item, worker); });
}

const ExpertWeights& WaveSteps::weights_of(int expert) const {
  return (*job_.experts)[static_cast<std::size_t>(expert)];
}

void WaveSteps::unpack_block(std::int64_t item, int worker) {
  const Block& block = wave_.blocks[static_cast<std::size_t>(item)];
  float* rows = scratch_.workers[static_cast<std::size_t>(worker)].panel.data();
  const std::int64_t first = block.expert * job_.row_capacity + block.first_row;
  for (int row = 0; row < block.num_rows; ++row) {
    job_.rows.read(first + row, rows + static_cast<std::int64_t>(row) * job_.hidden);
  }
  turn_rows(rows, block, shape_of(job_.hidden), scratch_.x_of(item));
}

void WaveSteps::up_panel(std::int64_t item, int worker) {
  const BlockRun& run = wave_.runs[static_cast<std::size_t>(item / up_panels_)];
  const ExpertWeights& weights = weights_of(run.expert);
  const std::int64_t channel = item % up_panels_ * kPanelRows;
  float* panel = scratch_.workers[static_cast<std::size_t>(worker)].panel.data();

  load_weight_panel(weights.gate, channel, panel);
  for (std::int64_t slot = run.first_slot; slot < run.first_slot + run.num_blocks; ++slot) {
    job_.gemm(shape_of(job_.hidden), panel, scratch_.x_of(slot),
              scratch_.gate_of(slot) + channel * job_.block_rows);
  }
  load_weight_panel(weights.up, channel, panel);
  for (std::int64_t slot = run.first_slot; slot < run.first_slot + run.num_blocks; ++slot) {
    job_.gemm(shape_of(job_.hidden), panel, scratch_.x_of(slot),
              scratch_.up_of(slot) + channel * job_.block_rows);
  }
}

void WaveSteps::activate_part(std::int64_t item) {
  const std::int64_t slot = item / activate_parts_;
  const std::int64_t channel = item % activate_parts_ * kActivateChannels;
  const std::int64_t end = min_of<std::int64_t>(channel + kActivateChannels, job_.width);
  float* gate = scratch_.gate_of(slot);
  const float* up = scratch_.up_of(slot);
  for (std::int64_t i = channel * job_.block_rows; i < end * job_.block_rows; ++i) {
    gate[i] = silu(gate[i]) * up[i];
  }
}

void WaveSteps::down_panel(std::int64_t item, int worker) {
  const BlockRun& run = wave_.runs[static_cast<std::size_t>(item / down_panels_)];
  const std::int64_t channel = item % down_panels_ * kPanelRows;
  WorkerScratch& own = scratch_.workers[static_cast<std::size_t>(worker)];

  load_weight_panel(weights_of(run.expert).down, channel, own.panel.data());
  for (std::int64_t slot = run.first_slot; slot < run.first_slot + run.num_blocks; ++slot) {
    const Block& block = wave_.blocks[static_cast<std::size_t>(slot)];
    job_.gemm(shape_of(job_.width), own.panel.data(), scratch_.gate_of(slot), own.tile.data());
    store_tile(block, channel, own.tile.data());
    // Release what this worker wrote; acquire what the others did, for the one who signals.
    std::atomic<std::int64_t>& left = scratch_.panels_left[static_cast<std::size_t>(slot)];
    if (left.fetch_sub(1, std::memory_order_acq_rel) == 1 && job_.how->on_block) {
      job_.how->on_block(block.expert, block.block);
    }
  }
}

void WaveSteps::store_tile(const Block& block, std::int64_t channel, const float* tile) const {
  const std::int64_t num_channels = min_of<std::int64_t>(kPanelRows, job_.hidden - channel);
  const std::int64_t first =
      (block.expert - job_.output.first_expert) * job_.row_capacity + block.first_row;
  for (int row = 0; row < block.num_rows; ++row) {
    const std::int64_t at = (first + row) * job_.hidden + channel;
    if (job_.output.dtype == DType::kFloat32) {
      float* out = static_cast<float*>(job_.output.rows) + at;
      for (std::int64_t c = 0; c < num_channels; ++c) out[c] = tile[c * job_.block_rows + row];
    } else {
      std::uint16_t* out = static_cast<std::uint16_t*>(job_.output.rows) + at;
      for (std::int64_t c = 0; c < num_channels; ++c) {
        out[c] = codec::float_to_bf16(tile[c * job_.block_rows + row]);
      }
    }
  }
}

}  // namespace braid::expert
