#include <chrono>
#include <cstring>
#include <optional>

#include "app/bench.hpp"
#include "app/bench_case.hpp"
#include "app/bench_gpu.hpp"
#include "app/block.hpp"
#include "app/operations.hpp"
#include "app/throughput_bench_gpu.hpp"
#include "app/throughput_bench_rank.hpp"
#include "braid/buffer.hpp"
#include "codec/bfloat16.hpp"
#include "codec/row.hpp"
#include "codec/rows.hpp"

namespace braid::app {
namespace {

using Clock = std::chrono::steady_clock;

double microseconds_since(Clock::time_point start) {
  return std::chrono::duration<double, std::micro>(Clock::now() - start).count();
}

class LowLatencyRank {
 public:
  LowLatencyRank(Group& group, const BenchOptions& options, const BenchCase& bench)
      : group_(group),
        options_(options.communication),
        shape_(bench.shape),
        num_tokens_(options.tokens),
        inputs_(bench_inputs(options, bench, group.rank())),
        buffer_(group, buffer_options(options_, shape_, options.tokens)),
        received_(options_, shape_, options.tokens) {
    if (fp8()) rows_ = received_.rows_like_x();
    output_ = Block(DType::kBFloat16, {num_tokens_, shape_.hidden});
  }

  StepTimes iterate() {
    // A row that nobody writes is then not a number, instead of the last iteration's right one.
    std::memset(output_.as<void>(), 0xff, output_.tensor().num_bytes());
    StepTimes times;
    group_.barrier();
    Clock::time_point start = Clock::now();
    const Handle handle =
        buffer_.dispatch(dispatch_input(), received_.output(), dispatch_options(options_), stream_);
    stream_.synchronize();
    times.dispatch = microseconds_since(start);
    if (fp8()) decode_rows();
    group_.barrier();
    start = Clock::now();
    const Tensor rows = fp8() ? rows_.tensor() : received_.x().tensor();
    buffer_.combine(handle, {rows, topk_weights()}, {output_.tensor(), {}},
                    combine_options(options_), stream_);
    stream_.synchronize();
    times.combine = microseconds_since(start);
    times.total = times.dispatch + times.combine;
    return times;
  }

  std::string output() const { return output_.bytes(); }

  bool output_is(const std::string& bytes) const {
    return bytes.size() == output_.tensor().num_bytes() &&
           std::memcmp(bytes.data(), output_.as<void>(), bytes.size()) == 0;
  }

  static std::optional<bool> rows_as_sent() { return std::nullopt; }

  std::vector<std::int64_t> tokens_per_expert() const { return received_.tokens_per_expert(); }

  OperationTraffic traffic() const {
    return {buffer_.dispatch_traffic(), buffer_.combine_traffic()};
  }

 private:
  bool fp8() const { return options_.dispatch != DispatchFormat::kBf16; }

  // The identity experts' outputs: each received row as BF16.
  void decode_rows() {
    const codec::RowKernels& kernels = codec::row_kernels();
    const std::int64_t data_bytes = codec::dispatch_data_bytes(options_.dispatch, shape_.hidden);
    const layout::ScaleShape scale_shape = received_.scale_shape();
    std::vector<std::byte> gathered;
    std::vector<float> decoded(static_cast<std::size_t>(shape_.hidden));
    const auto* scales = received_.scales().as<const std::byte>();
    for (std::int64_t expert = 0; expert < rows_.tensor().dim(0); ++expert) {
      const std::int64_t first = expert * received_.row_capacity();
      for (std::int64_t row = first; row < first + received_.counts()[expert]; ++row) {
        kernels.decode_dispatch(
            options_.dispatch, received_.x().as<const std::byte>() + row * data_bytes,
            layout::row_scales(scale_shape, scales, row, gathered), shape_.hidden, decoded.data());
        std::uint16_t* out = rows_.as<std::uint16_t>() + row * shape_.hidden;
        for (std::size_t i = 0; i < decoded.size(); ++i) out[i] = codec::float_to_bf16(decoded[i]);
      }
    }
  }

  Tensor topk_weights() {
    return {inputs_.routing.topk_weights.data(), DType::kFloat32, {num_tokens_, shape_.top_k}};
  }

  DispatchInput dispatch_input() {
    DispatchInput input;
    input.x = Tensor(inputs_.tokens.data(), DType::kBFloat16, {num_tokens_, shape_.hidden});
    input.topk_idx =
        Tensor(inputs_.routing.topk_idx.data(), DType::kInt64, {num_tokens_, shape_.top_k});
    if (options_.reduce() == Reduce::kExpertRank) input.topk_weights = topk_weights();
    return input;
  }

  Group& group_;
  const CommunicationOptions& options_;
  LayerShape shape_;
  int num_tokens_;
  BenchInputs inputs_;
  Buffer buffer_;
  ReceivedRows received_;
  Block rows_, output_;
  Stream stream_ = Stream::cpu();  // last, so that it ends before the memory that it works on
};

template <class Rank>
RankResult iterate(Rank& rank, Group& group, int repeat, const Progress& progress) {
  RankResult result;
  const int iterations = kWarmUps + repeat;
  for (int i = 0; i < iterations; ++i) {
    const StepTimes times = rank.iterate();
    if (i >= kWarmUps) result.times.push_back(times);
    if (i == 0) {
      result.output = rank.output();
      result.rows_as_sent = rank.rows_as_sent();
    } else if (!rank.output_is(result.output)) {
      result.repeats_equal = false;
    }
    if (group.rank() == 0 && progress) progress(i + 1, iterations);
  }
  result.num_operations = iterations;
  result.traffic = rank.traffic();
  result.tokens_per_expert = rank.tokens_per_expert();
  return result;
}

}  // namespace

RankResult run_bench_rank(Group& group, const BenchOptions& options, const BenchCase& bench,
                          const Progress& progress) {
  const bool high_throughput = options.communication.mode == Mode::kHighThroughput;
  if (group.backend_kind() == Backend::kCuda) {
    return high_throughput ? run_gpu_throughput_rank(group, options, bench, progress)
                           : run_gpu_bench_rank(group, options, bench, progress);
  }
  if (high_throughput) {
    ThroughputBenchRank rank(group, options, bench);
    return iterate(rank, group, options.repeat, progress);
  }
  LowLatencyRank rank(group, options, bench);
  return iterate(rank, group, options.repeat, progress);
}

}  // namespace braid::app
