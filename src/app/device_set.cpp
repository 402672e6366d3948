#include "app/device_set.hpp"

#include <cstdint>
#include <cstring>
#include <utility>

#include "app/device_tensors.hpp"
#include "codec/bfloat16.hpp"
#include "codec/row.hpp"
#include "codec/rows.hpp"

namespace braid::app {
DeviceSet::DeviceSet(std::shared_ptr<detail::DeviceBackend> device, const BenchOptions& options,
                     const BenchCase& bench, const BenchInputs& inputs)
    : device_(std::move(device)), options_(options.communication) {
  const std::int64_t tokens = options.tokens;
  const std::int64_t hidden = bench.shape.hidden;
  const std::int64_t local = bench.shape.experts / options_.ranks;
  const std::int64_t capacity = std::int64_t{options_.ranks} * tokens;
  const std::int64_t words =
      codec::dispatch_scale_bytes(options_.dispatch, bench.shape.hidden) / layout::kScaleWordBytes;
  scale_shape_ = {options_.scales, words, capacity};
  const bool by_column = options_.scales == ScaleLayout::kColumnMajor;
  const bool packed = options_.dispatch == DispatchFormat::kFp8Ue8m0;

  x_ = Tensor(nullptr, DType::kBFloat16, {tokens, hidden});
  topk_idx_ = Tensor(nullptr, DType::kInt64, {tokens, bench.shape.top_k});
  topk_weights_ = Tensor(nullptr, DType::kFloat32, {tokens, bench.shape.top_k});
  received_ =
      Tensor(nullptr, fp8() ? DType::kFloat8E4M3 : DType::kBFloat16, {local, capacity, hidden});
  counts_ = Tensor(nullptr, DType::kInt32, {local});
  output_ = Tensor(nullptr, DType::kBFloat16, {tokens, hidden});
  std::vector<Tensor*> all = {&x_, &topk_idx_, &topk_weights_, &received_, &counts_, &output_};
  if (fp8()) {
    scales_ = Tensor(nullptr, packed ? DType::kInt32 : DType::kFloat32,
                     {local, by_column ? words : capacity, by_column ? capacity : words});
    rows_ = Tensor(nullptr, DType::kBFloat16, {local, capacity, hidden});
    all.insert(all.end(), {&scales_, &rows_});
  }
  memory_ = allocate(*device_, all);
  device_->copy_in(x_.data, inputs.tokens.data(), x_.num_bytes());
  device_->copy_in(topk_idx_.data, inputs.routing.topk_idx.data(), topk_idx_.num_bytes());
  device_->copy_in(topk_weights_.data, inputs.routing.topk_weights.data(),
                   topk_weights_.num_bytes());
}

DispatchInput DeviceSet::dispatch_input() const {
  DispatchInput input{x_, topk_idx_, {}};
  if (options_.reduce() == Reduce::kExpertRank) input.topk_weights = topk_weights_;
  return input;
}

DispatchOutput DeviceSet::dispatch_output() const { return {received_, scales_, counts_, {}, {}}; }

CombineInput DeviceSet::combine_input() const { return {fp8() ? rows_ : received_, topk_weights_}; }

DeviceSet::ExpertRows DeviceSet::read_expert(std::int64_t expert, std::int64_t count) const {
  ExpertRows read{count, {}, {}};
  const std::size_t row_bytes =
      static_cast<std::size_t>(received_.dim(2)) * element_bytes(received_.dtype);
  const auto capacity = static_cast<std::size_t>(received_.dim(1));
  read.rows.resize(static_cast<std::size_t>(count) * row_bytes);
  device_->copy_out(
      read.rows.data(),
      received_.as<const std::byte>() + static_cast<std::size_t>(expert) * capacity * row_bytes,
      read.rows.size());
  if (!fp8()) return read;
  read.scales.resize(scales_.num_bytes() / static_cast<std::size_t>(scales_.dim(0)));
  device_->copy_out(
      read.scales.data(),
      scales_.as<const std::byte>() + static_cast<std::size_t>(expert) * read.scales.size(),
      read.scales.size());
  return read;
}

void DeviceSet::decode_rows() {
  if (!fp8()) return;
  const codec::RowKernels& kernels = codec::row_kernels();
  const auto hidden = static_cast<std::size_t>(rows_.dim(2));
  const std::vector<std::int32_t> received = counts();
  std::vector<std::byte> gathered;
  std::vector<float> decoded(hidden);
  std::vector<std::uint16_t> rows;
  for (std::int64_t expert = 0; expert < rows_.dim(0); ++expert) {
    const ExpertRows from = read_expert(expert, received[static_cast<std::size_t>(expert)]);
    rows.resize(static_cast<std::size_t>(from.count) * hidden);
    for (std::int64_t row = 0; row < from.count; ++row) {
      const std::size_t first = static_cast<std::size_t>(row) * hidden;  // FP8: of bytes too
      kernels.decode_dispatch(options_.dispatch, from.rows.data() + first,
                              layout::row_scales(scale_shape_, from.scales.data(), row, gathered),
                              static_cast<int>(hidden), decoded.data());
      for (std::size_t i = 0; i < hidden; ++i) {
        rows[first + i] = codec::float_to_bf16(decoded[i]);
      }
    }
    device_->copy_in(rows_.as<std::uint16_t>() + expert * rows_.dim(1) * rows_.dim(2), rows.data(),
                     rows.size() * sizeof(rows[0]));
  }
}

void DeviceSet::poison_received() {
  for (const Tensor* tensor : {&received_, &scales_, &counts_}) poison(*device_, *tensor);
}

void DeviceSet::poison_output() { poison(*device_, output_); }

std::vector<std::int32_t> DeviceSet::counts() const {
  std::vector<std::int32_t> counts(static_cast<std::size_t>(counts_.num_elements()));
  device_->copy_out(counts.data(), counts_.data, counts_.num_bytes());
  return counts;
}

std::string DeviceSet::received() const {
  std::string all = read(*device_, counts_);
  const std::vector<std::int32_t> received = counts();
  std::vector<std::byte> gathered;
  for (std::int64_t expert = 0; expert < received_.dim(0); ++expert) {
    const std::int32_t count = received[static_cast<std::size_t>(expert)];
    // Poison, or a wrong count: what it counts is not there.
    if (count < 0 || count > received_.dim(1)) continue;
    const ExpertRows from = read_expert(expert, count);
    all.append(reinterpret_cast<const char*>(from.rows.data()), from.rows.size());
    for (std::int64_t row = 0; fp8() && row < count; ++row) {
      const std::byte* scales = layout::row_scales(scale_shape_, from.scales.data(), row, gathered);
      all.append(reinterpret_cast<const char*>(scales),
                 static_cast<std::size_t>(scale_shape_.words * layout::kScaleWordBytes));
    }
  }
  return all;
}

std::string DeviceSet::output() const { return read(*device_, output_); }

}  // namespace braid::app
