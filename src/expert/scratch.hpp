// The memory that a call works in, kept for the next call.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <new>
#include <utility>
#include <vector>

namespace braid::expert {

// Floats from a cache line's boundary on, not initialized.
class FloatBuffer {
 public:
  static constexpr std::size_t kAlignment = 64;

  // Keeps the memory if there is enough of it; the content is undefined afterwards.
  void reserve(std::int64_t count);
  float* data() const { return data_.get(); }

 private:
  struct Free {
    void operator()(float* pointer) const {
      ::operator delete (pointer, std::align_val_t{kAlignment});
    }
  };
  std::unique_ptr<float, Free> data_;
  std::int64_t count_ = 0;
};

struct ScratchShape {
  std::int64_t hidden = 0;
  std::int64_t width = 0;
  std::int64_t block_rows = 0;
  std::int64_t num_blocks = 0;
  std::int64_t num_workers = 0;
};

struct WorkerScratch {
  FloatBuffer panel;  // kPanelRows channels of a weight, or a block's rows before they are turned
  FloatBuffer tile;   // [kPanelRows][block_rows]
};

struct Scratch {
  void reserve(const ScratchShape& shape);
  // The workers' own part of it, for more of them: what is in the slots stays.
  void reserve_workers(const ScratchShape& shape);

  float* x_of(std::int64_t slot) const { return x.data() + slot * x_stride; }
  float* gate_of(std::int64_t slot) const { return gate.data() + slot * width_stride; }
  float* up_of(std::int64_t slot) const { return up.data() + slot * width_stride; }

  // [slot][channel][block_rows]; channels of gate and up are padded to whole panels.
  FloatBuffer x;
  FloatBuffer gate;  // after the activation: the activation
  FloatBuffer up;
  std::int64_t x_stride = 0;
  std::int64_t width_stride = 0;
  std::vector<std::atomic<std::int64_t>> panels_left;  // [slot], of the down projection
  std::vector<WorkerScratch> workers;
};

// One Scratch for each call under way; those of calls that ended wait for the next ones.
class ScratchPool {
 public:
  std::unique_ptr<Scratch> take();
  void give_back(std::unique_ptr<Scratch> scratch);

 private:
  std::mutex mutex_;
  std::vector<std::unique_ptr<Scratch>> free_;
};

class BorrowedScratch {
 public:
  explicit BorrowedScratch(ScratchPool& pool) : pool_(pool), scratch_(pool.take()) {}
  ~BorrowedScratch() { pool_.give_back(std::move(scratch_)); }
  BorrowedScratch(const BorrowedScratch&) = delete;
  BorrowedScratch& operator=(const BorrowedScratch&) = delete;
  Scratch& operator*() const { return *scratch_; }

 private:
  ScratchPool& pool_;
  std::unique_ptr<Scratch> scratch_;
};

}  // namespace braid::expert
