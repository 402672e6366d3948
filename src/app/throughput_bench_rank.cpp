#include "app/throughput_bench_rank.hpp"

#include <chrono>
#include <cstring>

#include "app/sent_rows.hpp"

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
      options_(options),
      bench_(bench),
      inputs_(bench_inputs(options, bench, group.rank())),
      buffer_(group, throughput_options(options.communication, bench.shape, options.tokens)),
      rows_(make_throughput_rows(options.communication, bench.shape)),
      output_(DType::kBFloat16, {options.tokens, bench.shape.hidden}) {}

StepTimes ThroughputBenchRank::iterate() {
  // A row that nobody writes is then not a number, instead of the last iteration's right one.
  std::memset(output_.as<void>(), 0xff, output_.tensor().num_bytes());
  StepTimes times;
  group_.barrier();
  Clock::time_point start = Clock::now();
  const ThroughputHandle handle = lay_out();
  times.layout = microseconds_since(start);
  const ThroughputCall call{buffer_, handle, stream_};
  group_.barrier();
  const Traffic before = buffer_.dispatch_traffic();
  start = Clock::now();
  rows_->dispatch(call, dispatch_input());
  stream_.synchronize();
  times.dispatch = microseconds_since(start);
  add_since(traffic_.dispatch, before, buffer_.dispatch_traffic());
  rows_->run_identities();
  group_.barrier();
  start = Clock::now();
  rows_->combine(call, output_.tensor());
  stream_.synchronize();
  times.combine = microseconds_since(start);
  times.total = times.dispatch + times.combine;
  traffic_.combine = buffer_.combine_traffic();
  return times;
}

ThroughputHandle ThroughputBenchRank::lay_out() {
  LayoutOptions layout;
  layout.expert_alignment = options_.communication.alignment();
  const ThroughputHandle handle = buffer_.layout(
      {inputs_.routing.topk_idx.data(), DType::kInt64, {options_.tokens, bench_.shape.top_k}},
      layout, stream_);
  const ReceivedCounts counts = buffer_.received(handle);
  stream_.synchronize();
  rows_->make_room(counts);
  return handle;
}

DispatchRows ThroughputBenchRank::dispatch_input() {
  DispatchRows input;
  input.x = {inputs_.tokens.data(), DType::kBFloat16, {options_.tokens, bench_.shape.hidden}};
  input.topk_weights = {
      inputs_.routing.topk_weights.data(), DType::kFloat32, {options_.tokens, bench_.shape.top_k}};
  return input;
}

std::string ThroughputBenchRank::output() const { return output_.bytes(); }

bool ThroughputBenchRank::output_is(const std::string& bytes) const {
  return bytes.size() == output_.tensor().num_bytes() &&
         std::memcmp(bytes.data(), output_.as<void>(), bytes.size()) == 0;
}

std::optional<bool> ThroughputBenchRank::rows_as_sent() const {
  return rows_->received() == sent_rows(options_, bench_, group_.rank(), 0);
}

}  // namespace braid::app
