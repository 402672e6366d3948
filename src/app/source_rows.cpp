#include "app/source_rows.hpp"

#include <algorithm>
#include <cstring>

#include "codec/bfloat16.hpp"
#include "codec/row.hpp"

namespace braid::app {

SourceRows::SourceRows(const CommunicationOptions& options, const LayerShape& shape)
    : options_(options),
      shape_(shape),
      data_bytes_(codec::dispatch_data_bytes(options.dispatch, shape.hidden)),
      scale_bytes_(codec::dispatch_scale_bytes(options.dispatch, shape.hidden)) {
  make_room({});
}

void SourceRows::make_room(const ReceivedCounts& counts) {
  const std::int64_t rows = counts.num_rows;
  if (x_.tensor().rank > 0 && rows == num_rows()) return;
  const bool fp8 = options_.dispatch != DispatchFormat::kBf16;
  x_ = Block(fp8 ? DType::kFloat8E4M3 : DType::kBFloat16, {rows, shape_.hidden});
  if (fp8) scales_ = Block(DType::kFloat32, {rows, shape_.hidden / kScaleGroup});
  topk_idx_ = Block(DType::kInt32, {rows, shape_.top_k});
  weights_ = Block(DType::kFloat32, {rows, shape_.top_k});
  sums_ = Block(DType::kBFloat16, {rows, shape_.hidden});
}

void SourceRows::dispatch(const ThroughputCall& call, const DispatchRows& input) {
  DispatchRowsOptions options;
  options.format = options_.dispatch;
  call.buffer.dispatch(call.handle, input,
                       {x_.tensor(), scales_.tensor(), topk_idx_.tensor(), weights_.tensor()},
                       options, call.stream);
}

void SourceRows::combine(const ThroughputCall& call, const Tensor& output) {
  call.buffer.combine(call.handle, {sums_.tensor(), {}}, {output, {}}, {}, call.stream);
}

template <class OutputOf>
void SourceRows::sum(OutputOf output_of) {
  const codec::RowKernels& kernels = codec::row_kernels();
  std::vector<const std::uint16_t*> terms;
  std::vector<float> weights;
  for (std::int64_t row = 0; row < num_rows(); ++row) {
    terms.clear();
    weights.clear();
    for (int choice = 0; choice < shape_.top_k; ++choice) {
      const std::int32_t expert = experts_of(row)[choice];
      if (expert < 0) continue;
      terms.push_back(output_of(row, expert));
      weights.push_back(weights_.as<float>()[row * shape_.top_k + choice]);
    }
    kernels.weighted_sum_bf16(terms.data(), weights.data(), static_cast<int>(terms.size()),
                              shape_.hidden, sums_.as<std::uint16_t>() + row * shape_.hidden);
  }
}

void SourceRows::run_identities() {
  if (options_.dispatch == DispatchFormat::kBf16) {
    sum([this](std::int64_t row, int) { return reinterpret_cast<const std::uint16_t*>(x(row)); });
    return;
  }
  std::vector<float> decoded(static_cast<std::size_t>(shape_.hidden));
  std::vector<std::uint16_t> narrow(decoded.size());
  sum([&](std::int64_t row, int) {
    codec::row_kernels().decode_dispatch(options_.dispatch, x(row), scales(row), shape_.hidden,
                                         decoded.data());
    std::transform(decoded.begin(), decoded.end(), narrow.begin(), codec::float_to_bf16);
    return narrow.data();
  });
}

void SourceRows::run(const ExpertFfn& experts) {
  gather();
  experts.run({.format = options_.dispatch,
               .x = gathered_x_.data(),
               .scales = gathered_scales_.empty() ? nullptr : gathered_scales_.data(),
               .counts = counts_.data(),
               .row_capacity = capacity_,
               .hidden = shape_.hidden},
              {.rows = outputs_.data()},
              {.begin = 0,
               .end = experts.num_experts(),
               .num_workers = options_.resolved_workers(),
               .on_block = {}});
  // Rows were gathered in their order: a row's place is the next one of its expert.
  std::vector<std::int64_t> next(counts_.size()), last = next;
  std::vector<std::int64_t> row_of(next.size(), -1);
  sum([&](std::int64_t row, int expert) {
    const auto at = static_cast<std::size_t>(expert);
    if (row_of[at] != row) last[at] = next[at]++;  // else its token names the expert again
    row_of[at] = row;
    return outputs_.data() + (expert * capacity_ + last[at]) * shape_.hidden;
  });
}

void SourceRows::gather() {
  const std::vector<std::int64_t> counts = tokens_per_expert();
  counts_.assign(counts.begin(), counts.end());
  capacity_ = std::max<std::int64_t>(*std::max_element(counts.begin(), counts.end()), 1);
  const auto data = static_cast<std::size_t>(data_bytes_);
  const auto scale = static_cast<std::size_t>(scale_bytes_);
  const std::size_t places = counts.size() * static_cast<std::size_t>(capacity_);
  gathered_x_.resize(places * data);
  gathered_scales_.resize(places * scale);
  outputs_.resize(places * static_cast<std::size_t>(shape_.hidden));
  std::vector<std::int64_t> next(counts.size());
  for (std::int64_t row = 0; row < num_rows(); ++row) {
    const std::int32_t* named = experts_of(row);
    for (int choice = 0; choice < shape_.top_k; ++choice) {
      const std::int32_t expert = named[choice];
      if (expert < 0 || std::find(named, named + choice, expert) != named + choice) continue;
      const auto place =
          static_cast<std::size_t>(expert * capacity_ + next[static_cast<std::size_t>(expert)]++);
      std::memcpy(gathered_x_.data() + place * data, x(row), data);
      if (scale > 0) std::memcpy(gathered_scales_.data() + place * scale, scales(row), scale);
    }
  }
}

std::vector<std::int64_t> SourceRows::tokens_per_expert() const {
  std::vector<std::int64_t> counts(static_cast<std::size_t>(shape_.experts / options_.ranks));
  for (std::int64_t row = 0; row < num_rows(); ++row) {
    const std::int32_t* named = experts_of(row);
    for (int choice = 0; choice < shape_.top_k; ++choice) {
      const bool repeats = std::find(named, named + choice, named[choice]) != named + choice;
      if (named[choice] >= 0 && !repeats) ++counts[static_cast<std::size_t>(named[choice])];
    }
  }
  return counts;
}

std::string SourceRows::received() const { return x_.bytes() + scales_.bytes(); }

}  // namespace braid::app
