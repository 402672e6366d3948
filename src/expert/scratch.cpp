#include "expert/scratch.hpp"

#include <utility>

#include "base/math.hpp"
#include "expert/panel_gemm.hpp"

namespace braid::expert {

void FloatBuffer::reserve(std::int64_t count) {
  if (count <= count_) return;
  data_.reset();
  count_ = 0;
  const std::size_t bytes = static_cast<std::size_t>(count) * sizeof(float);
  data_.reset(static_cast<float*>(::operator new (bytes, std::align_val_t{kAlignment})));
  count_ = count;
}

void Scratch::reserve(const ScratchShape& shape) {
  x_stride = shape.hidden * shape.block_rows;
  width_stride = round_up<std::int64_t>(shape.width, kPanelRows) * shape.block_rows;
  x.reserve(shape.num_blocks * x_stride);
  gate.reserve(shape.num_blocks * width_stride);
  up.reserve(shape.num_blocks * width_stride);
  if (std::ssize(panels_left) < shape.num_blocks) {
    panels_left =
        std::vector<std::atomic<std::int64_t>>(static_cast<std::size_t>(shape.num_blocks));
  }
  reserve_workers(shape);
}

void Scratch::reserve_workers(const ScratchShape& shape) {
  if (std::ssize(workers) < shape.num_workers) {
    workers.resize(static_cast<std::size_t>(shape.num_workers));
  }
  const std::int64_t panel =
      max_of(kPanelRows * max_of(shape.hidden, shape.width), shape.block_rows * shape.hidden);
  for (std::int64_t worker = 0; worker < shape.num_workers; ++worker) {
    WorkerScratch& own = workers[static_cast<std::size_t>(worker)];
    own.panel.reserve(panel);
    own.tile.reserve(kPanelRows * shape.block_rows);
  }
}

std::unique_ptr<Scratch> ScratchPool::take() {
  const std::lock_guard lock(mutex_);
  if (free_.empty()) return std::make_unique<Scratch>();
  std::unique_ptr<Scratch> scratch = std::move(free_.back());
  free_.pop_back();
  return scratch;
}

void ScratchPool::give_back(std::unique_ptr<Scratch> scratch) {
  const std::lock_guard lock(mutex_);
  free_.push_back(std::move(scratch));
}

}  // namespace braid::expert
