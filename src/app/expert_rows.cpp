#include "app/expert_rows.hpp"

#include <algorithm>

#include "app/sent_rows.hpp"
#include "codec/bfloat16.hpp"
#include "codec/row.hpp"
#include "codec/rows.hpp"

namespace braid::app {

ExpertRows::ExpertRows(const CommunicationOptions& options, const LayerShape& shape)
    : options_(options), shape_(shape) {
  make_room({});
}

void ExpertRows::make_room(const ReceivedCounts& counts) {
  std::int64_t rows = 0;
  first_rows_.clear();
  for (const std::int64_t count : counts.rows_per_expert) {
    first_rows_.push_back(rows);
    rows += count;
  }
  if (x_.tensor().rank > 0 && rows == num_rows() && counts.num_rows == weights_.tensor().dim(0)) {
    return;
  }
  const bool fp8 = options_.dispatch != DispatchFormat::kBf16;
  x_ = Block(fp8 ? DType::kFloat8E4M3 : DType::kBFloat16, {rows, shape_.hidden});
  if (fp8) scales_ = Block(DType::kFloat32, {rows, shape_.hidden / kScaleGroup});
  row_experts_ = Block(DType::kInt32, {rows});
  weights_ = Block(DType::kFloat32, {counts.num_rows, shape_.top_k});
  outputs_ = Block(DType::kBFloat16, {rows, shape_.hidden});
}

void ExpertRows::dispatch(const ThroughputCall& call, const DispatchRows& input) {
  DispatchRowsOptions options;
  options.format = options_.dispatch;
  call.buffer.dispatch_expanded(
      call.handle, input, {x_.tensor(), scales_.tensor(), row_experts_.tensor(), weights_.tensor()},
      options, call.stream);
}

void ExpertRows::combine(const ThroughputCall& call, const Tensor& output) {
  call.buffer.combine_expanded(call.handle, {outputs_.tensor(), weights_.tensor()}, {output, {}},
                               {}, call.stream);
}

void ExpertRows::run_identities() {
  const std::int64_t data_bytes = codec::dispatch_data_bytes(options_.dispatch, shape_.hidden);
  const std::int64_t scale_bytes = codec::dispatch_scale_bytes(options_.dispatch, shape_.hidden);
  std::vector<float> decoded(static_cast<std::size_t>(shape_.hidden));
  for (std::int64_t row = 0; row < num_rows(); ++row) {
    if (experts()[row] < 0) continue;
    codec::row_kernels().decode_dispatch(options_.dispatch, x_.as<std::byte>() + row * data_bytes,
                                         scales_.as<std::byte>() + row * scale_bytes, shape_.hidden,
                                         decoded.data());
    std::transform(decoded.begin(), decoded.end(),
                   outputs_.as<std::uint16_t>() + row * shape_.hidden, codec::float_to_bf16);
  }
}

void ExpertRows::run(const ExpertFfn& experts) {
  const std::vector<std::int64_t> counted = tokens_per_expert();
  const std::vector<std::int32_t> counts(counted.begin(), counted.end());
  experts.run({.format = options_.dispatch,
               .x = x_.as<std::byte>(),
               .scales = scales_.as<std::byte>(),
               .counts = counts.data(),
               .row_capacity = num_rows(),
               .hidden = shape_.hidden,
               .first_rows = first_rows_.data()},
              {.rows = outputs_.as<void>()},
              {.begin = 0,
               .end = experts.num_experts(),
               .num_workers = options_.resolved_workers(),
               .on_block = {}});
}

std::vector<std::int64_t> ExpertRows::tokens_per_expert() const {
  std::vector<std::int64_t> counts(static_cast<std::size_t>(shape_.experts / options_.ranks));
  std::for_each(experts(), experts() + num_rows(), [&counts](std::int32_t expert) {
    if (expert >= 0) ++counts[static_cast<std::size_t>(expert)];
  });
  return counts;
}

std::string ExpertRows::received() const {
  return rows_by_expert({experts(), experts() + num_rows()}, x_.bytes(), scales_.bytes());
}

}  // namespace braid::app
