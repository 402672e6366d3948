// The feed-forward network of one rank's local experts, on the CPU:
//
//   y = down(silu(gate(x)) * up(x))      for the first counts[e] rows of every expert e
//
// Guaranteed: a row's result depends on the row and its expert's weights alone. Its position,
// its neighbors, the counts, the range of experts, the number of workers: none changes a bit.
// Products are f32 with f32 sums over the whole width, and the intermediate is not rounded.
//
// Memory: weights stay as they are stored. A panel of 32 output channels at a time is converted
// to f32, in each worker's own scratch. Scratch is kept between calls: per concurrent call
// wave_blocks * block_rows * (hidden + 2 * width) floats, and 32 * max(hidden, width) a worker.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "base/weight_view.hpp"
#include "braid/format.hpp"
#include "braid/tensor.hpp"

namespace braid {

enum class ExpertEngine : std::uint8_t {
  kOneDnn,  // fixed-shape f32 products by oneDNN, each on the thread that calls it
  kPlain,   // the same by plain loops; differs from kOneDnn in rounding only
};

// ThreadSanitizer does not see into oneDNN, so such builds do without it.
#if defined(BRAID_THREAD_SANITIZER)
inline constexpr ExpertEngine kDefaultExpertEngine = ExpertEngine::kPlain;
#else
inline constexpr ExpertEngine kDefaultExpertEngine = ExpertEngine::kOneDnn;
#endif

struct ExpertOptions {
  ExpertEngine engine = kDefaultExpertEngine;
  int block_rows = 32;   // rows of one block: a multiple of 16, up to 256
  int wave_blocks = 16;  // blocks in flight; more convert weights less often and take more memory
};

// Rows as dispatch delivers them: expert-major, padded. Rows at and beyond a count are not read.
struct ExpertInput {
  DispatchFormat format = DispatchFormat::kBf16;
  const std::byte* x = nullptr;          // [num_local, row_capacity, hidden], BF16 or e4m3
  const std::byte* scales = nullptr;     // as scale_layout says; null for kBf16
  const std::int32_t* counts = nullptr;  // [num_local], rows that are valid
  std::int64_t row_capacity = 0;
  int hidden = 0;
  ScaleLayout scale_layout = ScaleLayout::kRowMajor;
};

// [experts, row_capacity, hidden] from first_expert on, kBFloat16 or kFloat32: row r of expert e is
// at ((e - first_expert) * row_capacity + r) * hidden. Must not overlap the input. Rows at and
// beyond a count are not written.
struct ExpertOutput {
  void* rows = nullptr;
  DType dtype = DType::kBFloat16;
  int first_expert = 0;
};

struct ExpertRun {
  int begin = 0;  // local experts [begin, end): those of one round, say
  int end = 0;
  int num_workers = 1;  // threads, the caller among them

  // If given: called once for each block of each expert in the range, after all rows of the block
  // are written; by any worker, from several at once. Block b holds rows from b * block_rows on.
  // Experts without rows have no block. If it throws, run ends early and throws the same.
  std::function<void(int expert, int block)> on_block = {};
};

namespace expert {
struct Job;
class ScratchPool;
}  // namespace expert

class ExpertFfn {
 public:
  // experts: the rank's local experts in order, all of one shape. The views' memory must outlive
  // this object. Throws kInvalidArgument for weights that don't fit together.
  explicit ExpertFfn(std::vector<ExpertWeights> experts, ExpertOptions options = {});
  ~ExpertFfn();
  ExpertFfn(const ExpertFfn&) = delete;
  ExpertFfn& operator=(const ExpertFfn&) = delete;

  int num_experts() const { return static_cast<int>(experts_.size()); }
  int hidden() const { return hidden_; }
  int width() const { return width_; }
  const ExpertOptions& options() const { return options_; }

  // Blocks until done. May be called from several threads at once.
  void run(const ExpertInput& input, const ExpertOutput& output, const ExpertRun& how) const;

  // For a shared expert, where this object holds just that one: out[n, hidden] from
  // x [n, hidden], kBFloat16 or kFloat32.
  void run_dense(const Tensor& x, float* out, int num_workers = 1) const;

 private:
  friend class ExpertPass;
  expert::Job job(const ExpertInput& input, const ExpertOutput& output, const ExpertRun& how) const;

  std::vector<ExpertWeights> experts_;
  ExpertOptions options_;
  int hidden_ = 0;
  int width_ = 0;
  std::unique_ptr<expert::ScratchPool> scratch_;
};

}  // namespace braid
