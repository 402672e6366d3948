#include "app/throughput_exchange.hpp"

#include <algorithm>
#include <cstring>

#include "codec/row.hpp"

namespace braid::app {

ThroughputExchange::ThroughputExchange(Group& group, const CommunicationOptions& options,
                                       const LayerShape& shape, int max_tokens)
    : options_(options),
      shape_(shape),
      num_local_(shape.experts / options.ranks),
      buffer_(group, throughput_options(options, shape, max_tokens)),
      rows_(options, shape, 0) {}

void ThroughputExchange::run(const LayerPass& pass, StepTimer& timer) {
  const std::int64_t n = pass.x.dim(0);
  const ThroughputHandle handle =
      buffer_.layout({pass.routes.topk_idx.data(), DType::kInt64, {n, shape_.top_k}}, {}, stream_);
  rows_ = ThroughputRows(options_, shape_, buffer_.received(handle).num_rows);
  timer.add_to(&StepTimes::layout);
  const Tensor weights(pass.routes.topk_weights.data(), DType::kFloat32, {n, shape_.top_k});
  DispatchRowsOptions dispatch;
  dispatch.format = options_.dispatch;
  buffer_.dispatch(handle, {pass.x, {}, weights}, rows_.output(), dispatch, stream_);
  stream_.synchronize();
  timer.add_to(&StepTimes::dispatch);
  run_experts(pass.experts);
  timer.add_to(&StepTimes::experts);
  buffer_.combine(handle, {rows_.sums(), {}}, {pass.output, {}}, {}, stream_);
  stream_.synchronize();
  timer.add_to(&StepTimes::combine);
}

std::vector<std::int64_t> ThroughputExchange::tokens_per_expert() const {
  return rows_.tokens_per_expert(num_local_);
}

OperationTraffic ThroughputExchange::traffic() const {
  return {buffer_.dispatch_traffic(), buffer_.combine_traffic()};
}

void ThroughputExchange::run_experts(ExpertFfn& experts) {
  gather();
  experts.run(
      {.format = options_.dispatch,
       .x = x_.data(),
       .scales = scales_.empty() ? nullptr : scales_.data(),
       .counts = counts_.data(),
       .row_capacity = capacity_,
       .hidden = shape_.hidden,
       .scale_layout = ScaleLayout::kRowMajor},
      {.rows = outputs_.data()},
      {.begin = 0, .end = num_local_, .num_workers = options_.resolved_workers(), .on_block = {}});
  // Rows were gathered in their order: a row's place is the next one of its expert.
  std::vector<std::int64_t> next(static_cast<std::size_t>(num_local_)), last = next;
  std::vector<std::int64_t> row_of(next.size(), -1);
  rows_.sum([&](std::int64_t row, int expert) {
    const auto at = static_cast<std::size_t>(expert);
    if (row_of[at] != row) last[at] = next[at]++;  // else its token names the expert again
    row_of[at] = row;
    return outputs_.data() + (expert * capacity_ + last[at]) * shape_.hidden;
  });
}

// Rows by expert, as the experts take them.
void ThroughputExchange::gather() {
  const std::vector<std::int64_t> counts = rows_.tokens_per_expert(num_local_);
  counts_.assign(counts.begin(), counts.end());
  capacity_ = std::max<std::int64_t>(*std::max_element(counts.begin(), counts.end()), 1);
  const auto data =
      static_cast<std::size_t>(codec::dispatch_data_bytes(options_.dispatch, shape_.hidden));
  const auto scales =
      static_cast<std::size_t>(codec::dispatch_scale_bytes(options_.dispatch, shape_.hidden));
  const auto places = static_cast<std::size_t>(num_local_ * capacity_);
  x_.resize(places * data);
  scales_.resize(places * scales);
  outputs_.resize(places * static_cast<std::size_t>(shape_.hidden));
  std::vector<std::int64_t> next(counts.size());
  for (std::int64_t row = 0; row < rows_.num_rows(); ++row) {
    const std::int32_t* named = rows_.experts(row);
    for (int choice = 0; choice < shape_.top_k; ++choice) {
      const std::int32_t expert = named[choice];
      if (expert < 0 || std::find(named, named + choice, expert) != named + choice) continue;
      const auto place =
          static_cast<std::size_t>(expert * capacity_ + next[static_cast<std::size_t>(expert)]++);
      std::memcpy(x_.data() + place * data, rows_.x(row), data);
      if (scales > 0) std::memcpy(scales_.data() + place * scales, rows_.scales(row), scales);
    }
  }
}

}  // namespace braid::app
