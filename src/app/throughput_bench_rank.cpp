#include "app/throughput_bench_rank.hpp"

#include <algorithm>
#include <chrono>
#include <cstring>

#include "codec/bfloat16.hpp"

namespace braid::app {
namespace {

using Clock = std::chrono::steady_clock;

double microseconds_since(Clock::time_point start) {
  return std::chrono::duration<double, std::micro>(Clock::now() - start).count();
}

void add_since(Traffic& sum, const Traffic& before, const Traffic& after) {
  for (const auto link : {&Traffic::local, &Traffic::scale_up, &Traffic::scale_out}) {
    (sum.*link).bytes += (after.*link).bytes - (before.*link).bytes;
    (sum.*link).messages += (after.*link).messages - (before.*link).messages;
  }
}

}  // namespace

ThroughputBenchRank::ThroughputBenchRank(Group& group, const BenchOptions& options,
                                         const BenchCase& bench)
    : group_(group),
      options_(options.communication),
      shape_(bench.shape),
      num_tokens_(options.tokens),
      inputs_(bench_inputs(options, bench, group.rank())),
      buffer_(group, throughput_options(options_, shape_, options.tokens)),
      rows_(options_, shape_, 0),
      output_(DType::kBFloat16, {num_tokens_, shape_.hidden}) {}

StepTimes ThroughputBenchRank::iterate() {
  // A row that nobody writes is then not a number, instead of the last iteration's right one.
  std::memset(output_.as<void>(), 0xff, output_.tensor().num_bytes());
  StepTimes times;
  group_.barrier();
  Clock::time_point start = Clock::now();
  const ThroughputHandle handle = lay_out();
  times.layout = microseconds_since(start);
  group_.barrier();
  const Traffic before = buffer_.dispatch_traffic();
  start = Clock::now();
  dispatch(handle);
  times.dispatch = microseconds_since(start);
  add_since(traffic_.dispatch, before, buffer_.dispatch_traffic());
  run_experts();
  group_.barrier();
  start = Clock::now();
  buffer_.combine(handle, {rows_.sums(), {}}, {output_.tensor(), {}}, {}, stream_);
  stream_.synchronize();
  times.combine = microseconds_since(start);
  times.total = times.dispatch + times.combine;
  traffic_.combine = buffer_.combine_traffic();
  return times;
}

ThroughputHandle ThroughputBenchRank::lay_out() {
  const ThroughputHandle handle = buffer_.layout(
      {inputs_.routing.topk_idx.data(), DType::kInt64, {num_tokens_, shape_.top_k}}, {}, stream_);
  const std::int64_t rows = buffer_.received(handle).num_rows;
  stream_.synchronize();
  if (rows != rows_.num_rows()) rows_ = ThroughputRows(options_, shape_, rows);
  return handle;
}

void ThroughputBenchRank::dispatch(const ThroughputHandle& handle) {
  DispatchRows input;
  input.x = {inputs_.tokens.data(), DType::kBFloat16, {num_tokens_, shape_.hidden}};
  input.topk_weights = {
      inputs_.routing.topk_weights.data(), DType::kFloat32, {num_tokens_, shape_.top_k}};
  DispatchRowsOptions options;
  options.format = options_.dispatch;
  buffer_.dispatch(handle, input, rows_.output(), options, stream_);
  stream_.synchronize();
}

void ThroughputBenchRank::run_experts() {
  if (options_.dispatch == DispatchFormat::kBf16) {
    rows_.sum([this](std::int64_t row, int) {
      return reinterpret_cast<const std::uint16_t*>(rows_.x(row));
    });
    return;
  }
  std::vector<float> decoded(static_cast<std::size_t>(shape_.hidden));
  std::vector<std::uint16_t> narrow(decoded.size());
  rows_.sum([&](std::int64_t row, int) {
    codec::row_kernels().decode_dispatch(options_.dispatch, rows_.x(row), rows_.scales(row),
                                         shape_.hidden, decoded.data());
    std::transform(decoded.begin(), decoded.end(), narrow.begin(), codec::float_to_bf16);
    return narrow.data();
  });
}

std::string ThroughputBenchRank::output() const {
  return {output_.as<const char>(), output_.tensor().num_bytes()};
}

bool ThroughputBenchRank::output_is(const std::string& bytes) const {
  return bytes.size() == output_.tensor().num_bytes() &&
         std::memcmp(bytes.data(), output_.as<void>(), bytes.size()) == 0;
}

std::vector<std::int64_t> ThroughputBenchRank::tokens_per_expert() const {
  return rows_.tokens_per_expert(shape_.experts / options_.ranks);
}

}  // namespace braid::app
