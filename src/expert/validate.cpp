#include "expert/validate.hpp"

#include <limits>

#include "base/check.hpp"

namespace braid::expert {
namespace {

constexpr std::int64_t kMaxChannels = std::numeric_limits<int>::max();

struct Named {
  int expert;
  const char* name;
};

void check_view(const Named& who, const WeightView& view) {
  require(view.data != nullptr, "expert {}: {} has no data", who.expert, who.name);
  require(view.dtype == DType::kBFloat16 || view.dtype == DType::kFloat32 ||
              view.dtype == DType::kFloat8E4M3,
          "expert {}: {} has dtype {}, but must be bf16, f32 or f8_e4m3", who.expert, who.name,
          to_string(view.dtype));
  require(view.rows > 0 && view.cols > 0 && view.rows <= kMaxChannels && view.cols <= kMaxChannels,
          "expert {}: {} has shape [{}, {}], but both must be from 1 to {}", who.expert, who.name,
          view.rows, view.cols, kMaxChannels);
  require(view.block_scales == nullptr || view.dtype == DType::kFloat8E4M3,
          "expert {}: {} has block scales and dtype {}, but only f8_e4m3 takes scales", who.expert,
          who.name, to_string(view.dtype));
  require(view.block_scales == nullptr || view.block > 0,
          "expert {}: {} has scales for blocks of {}, but a block must be positive", who.expert,
          who.name, view.block);
}

void check_shape(const Named& who, const WeightView& view, std::int64_t rows, std::int64_t cols) {
  require(view.rows == rows && view.cols == cols,
          "expert {}: {} has shape [{}, {}], but must be [{}, {}] to fit expert 0's gate",
          who.expert, who.name, view.rows, view.cols, rows, cols);
}

}  // namespace

void check_workers(int num_workers) {
  require(num_workers >= 1, "num_workers is {}, but must be at least 1", num_workers);
}

void check_options(const ExpertOptions& options) {
  require(options.block_rows >= 16 && options.block_rows <= 256 && options.block_rows % 16 == 0,
          "block_rows is {}, but must be a multiple of 16 from 16 to 256", options.block_rows);
  require(options.wave_blocks >= 1, "wave_blocks is {}, but must be at least 1",
          options.wave_blocks);
}

void check_weights(const std::vector<ExpertWeights>& experts) {
  require(!experts.empty(), "experts is empty, but must hold at least one");
  const std::int64_t width = experts[0].gate.rows;
  const std::int64_t hidden = experts[0].gate.cols;
  for (int expert = 0; expert < std::ssize(experts); ++expert) {
    const ExpertWeights& weights = experts[static_cast<std::size_t>(expert)];
    check_view({expert, "gate"}, weights.gate);
    check_view({expert, "up"}, weights.up);
    check_view({expert, "down"}, weights.down);
    check_shape({expert, "gate"}, weights.gate, width, hidden);
    check_shape({expert, "up"}, weights.up, width, hidden);
    check_shape({expert, "down"}, weights.down, hidden, width);
  }
}

void check_run(const ExpertFfn& ffn, const ExpertInput& input, const ExpertOutput& output,
               const ExpertRun& how) {
  check_workers(how.num_workers);
  check_call(ffn, input, output, how);
  check_rows(input, output, how);
}

void check_call(const ExpertFfn& ffn, const ExpertInput& input, const ExpertOutput& output,
                const ExpertRun& how) {
  require(how.begin >= 0 && how.begin <= how.end && how.end <= ffn.num_experts(),
          "the range of experts is [{}, {}), but must lie in [0, {})", how.begin, how.end,
          ffn.num_experts());
  require(output.first_expert >= 0 && output.first_expert <= how.begin,
          "first_expert of the output is {}, but must be from 0 to {}, the range's first expert",
          output.first_expert, how.begin);
  require(output.dtype == DType::kBFloat16 || output.dtype == DType::kFloat32,
          "the output has dtype {}, but must be bf16 or f32", to_string(output.dtype));
  require(input.hidden == ffn.hidden(), "hidden is {}, but the weights take {}", input.hidden,
          ffn.hidden());
  require(input.row_capacity >= 0, "row_capacity is {}, but must not be negative",
          input.row_capacity);
  require(input.format == DispatchFormat::kBf16 || input.hidden % kScaleGroup == 0,
          "hidden is {}, but must be a multiple of {} for format {}", input.hidden, kScaleGroup,
          to_string(input.format));
}

void check_rows(const ExpertInput& input, const ExpertOutput& output, const ExpertRun& how) {
  if (how.begin == how.end) return;
  require(input.counts != nullptr, "counts is null, but must name a count per expert");
  bool any = false;
  for (int expert = how.begin; expert < how.end; ++expert) {
    const std::int32_t count = input.counts[expert];
    require(count >= 0 && count <= input.row_capacity,
            "the count of local expert {} is {}, but must be from 0 to row_capacity {}", expert,
            count, input.row_capacity);
    any = any || count > 0;
  }
  if (!any) return;
  require(input.x != nullptr, "x is null, but there are rows to read");
  require(output.rows != nullptr, "the output's rows are null, but there are rows to write");
  require(input.scales != nullptr || input.format == DispatchFormat::kBf16,
          "scales is null, but format {} has scales", to_string(input.format));
}

void check_dense(const ExpertFfn& ffn, const Tensor& x, const float* out, int num_workers) {
  check_workers(num_workers);
  require(ffn.num_experts() == 1, "run_dense takes weights of one expert, but there are {}",
          ffn.num_experts());
  require(x.rank == 2 && x.dim(1) == ffn.hidden(), "x must have shape [n, {}]", ffn.hidden());
  require(x.dim(0) >= 0 && x.dim(0) <= std::numeric_limits<std::int32_t>::max(),
          "x has {} rows, but must have from 0 to {}", x.dim(0),
          std::numeric_limits<std::int32_t>::max());
  require(x.dtype == DType::kBFloat16 || x.dtype == DType::kFloat32,
          "x has dtype {}, but must be bf16 or f32", to_string(x.dtype));
  require(x.dim(0) == 0 || x.data != nullptr, "x is null, but there are rows to read");
  require(x.dim(0) == 0 || out != nullptr, "out is null, but there are rows to write");
}

}  // namespace braid::expert
