#include "app/throughput_device_set.hpp"

#include <algorithm>
#include <numeric>
#include <utility>

#include "app/device_tensors.hpp"
#include "app/sent_rows.hpp"
#include "codec/bfloat16.hpp"
#include "codec/rows.hpp"

namespace braid::app {
namespace {

// The same tensor, with so many rows.
Tensor first_rows(const Tensor& tensor, std::int64_t num_rows) {
  Tensor part = tensor;
  if (!part.empty()) part.shape[0] = num_rows;
  return part;
}

// Rows that one rank may receive, by source.
std::int64_t row_capacity(const BenchOptions& options) {
  return std::int64_t{options.communication.ranks} * options.tokens;
}

class SourceSet final : public ThroughputDeviceSet {
 public:
  SourceSet(std::shared_ptr<detail::DeviceBackend> device, const BenchOptions& options,
            const BenchCase& bench, const BenchInputs& inputs)
      : ThroughputDeviceSet(std::move(device), options, bench, row_capacity(options)) {
    allocate(inputs, {});
  }
  void dispatch(const ThroughputCall& call, Outputs) const override {
    call.buffer.dispatch(call.handle, {x_, scales_, {}}, {received_, received_scales_, {}, {}},
                         dispatch_options(), call.stream);
  }
  // The rows as they are: nobody weighs them.
  void combine(const ThroughputCall& call, Outputs) const override {
    call.buffer.combine(call.handle, {combine_x(), {}}, {output_, {}}, {}, call.stream);
  }
  std::string received() const override {
    return received_in_place({received_, received_scales_, {}, {}});
  }

 protected:
  std::int64_t num_rows() const override { return counts_.num_rows; }
};

class ExpertSet final : public ThroughputDeviceSet {
 public:
  ExpertSet(std::shared_ptr<detail::DeviceBackend> device, const BenchOptions& options,
            const BenchCase& bench, const BenchInputs& inputs)
      : ThroughputDeviceSet(std::move(device), options, bench,
                            expanded_capacity(options.communication, bench.shape, options.tokens)) {
    row_experts_ = Tensor(nullptr, DType::kInt32, {received_.dim(0)});
    row_weights_ = Tensor(nullptr, DType::kFloat32, {row_capacity(options), bench.shape.top_k});
    topk_weights_ = Tensor(nullptr, DType::kFloat32, {options.tokens, bench.shape.top_k});
    allocate(inputs, {&row_experts_, &row_weights_, &topk_weights_});
  }
  void dispatch(const ThroughputCall& call, Outputs outputs) const override {
    call.buffer.dispatch_expanded(call.handle, {x_, scales_, topk_weights_},
                                  {sized(received_, outputs), sized(received_scales_, outputs),
                                   sized(row_experts_, outputs), row_weights_},
                                  dispatch_options(), call.stream);
  }
  void combine(const ThroughputCall& call, Outputs outputs) const override {
    call.buffer.combine_expanded(call.handle, {sized(combine_x(), outputs), row_weights_},
                                 {output_, {}}, {}, call.stream);
  }
  void poison_received() override {
    ThroughputDeviceSet::poison_received();
    poison(*device_, row_experts_);
    poison(*device_, row_weights_);
  }
  std::string received() const override {
    std::vector<std::int32_t> experts(static_cast<std::size_t>(num_rows()));
    device_->copy_out(experts.data(), row_experts_.data, experts.size() * sizeof(experts[0]));
    const auto rows_of = [this](const Tensor& tensor) {
      return tensor.empty() ? std::string() : read(*device_, sized(tensor, Outputs::kExact));
    };
    return rows_by_expert(experts, rows_of(received_), rows_of(received_scales_));
  }

 protected:
  std::int64_t num_rows() const override {
    return std::accumulate(counts_.rows_per_expert.begin(), counts_.rows_per_expert.end(),
                           std::int64_t{0});
  }

 private:
  Tensor row_experts_, row_weights_;
};

}  // namespace

ThroughputDeviceSet::ThroughputDeviceSet(std::shared_ptr<detail::DeviceBackend> device,
                                         const BenchOptions& options, const BenchCase& bench,
                                         std::int64_t capacity)
    : device_(std::move(device)),
      format_(options.communication.dispatch),
      alignment_(options.communication.alignment()) {
  const std::int64_t tokens = options.tokens;
  const std::int64_t hidden = bench.shape.hidden;
  const bool fp8 = format_ != DispatchFormat::kBf16;
  const DType dtype = fp8 ? DType::kFloat8E4M3 : DType::kBFloat16;
  x_ = Tensor(nullptr, dtype, {tokens, hidden});
  topk_idx_ = Tensor(nullptr, DType::kInt64, {tokens, bench.shape.top_k});
  received_ = Tensor(nullptr, dtype, {capacity, hidden});
  output_ = Tensor(nullptr, DType::kBFloat16, {tokens, hidden});
  if (!fp8) return;
  scales_ = Tensor(nullptr, DType::kFloat32, {tokens, hidden / kScaleGroup});
  received_scales_ = Tensor(nullptr, DType::kFloat32, {capacity, hidden / kScaleGroup});
  rows_ = Tensor(nullptr, DType::kBFloat16, {capacity, hidden});
}

void ThroughputDeviceSet::allocate(const BenchInputs& inputs, const std::vector<Tensor*>& more) {
  std::vector<Tensor*> all = more;
  for (Tensor* tensor :
       {&x_, &scales_, &topk_idx_, &received_, &received_scales_, &rows_, &output_}) {
    if (!tensor->empty()) all.push_back(tensor);
  }
  memory_ = app::allocate(*device_, all);
  const EncodedTokens encoded = encode(format_, static_cast<int>(x_.dim(1)), inputs.tokens);
  device_->copy_in(x_.data, encoded.data.data(), encoded.data.size());
  if (!scales_.empty()) {
    device_->copy_in(scales_.data, encoded.scales.data(), encoded.scales.size());
  }
  device_->copy_in(topk_idx_.data, inputs.routing.topk_idx.data(), topk_idx_.num_bytes());
  if (!topk_weights_.empty()) {
    device_->copy_in(topk_weights_.data, inputs.routing.topk_weights.data(),
                     topk_weights_.num_bytes());
  }
}

ThroughputHandle ThroughputDeviceSet::lay_out(HighThroughputBuffer& buffer, Stream& stream) const {
  LayoutOptions options;
  options.expert_alignment = alignment_;
  return buffer.layout(topk_idx_, options, stream);
}

DispatchRowsOptions ThroughputDeviceSet::dispatch_options() const {
  DispatchRowsOptions options;
  options.format = format_;
  options.fill_tail = false;
  return options;
}

Tensor ThroughputDeviceSet::sized(const Tensor& tensor, Outputs outputs) const {
  return outputs == Outputs::kExact ? first_rows(tensor, num_rows()) : tensor;
}

DispatchedRows ThroughputDeviceSet::dispatch_in_place(const ThroughputCall& call) const {
  return call.buffer.dispatch_in_place(call.handle, {x_, scales_, {}}, {}, dispatch_options(),
                                       call.stream);
}

void ThroughputDeviceSet::decode_rows() {
  if (received_scales_.empty()) return;
  const codec::RowKernels& kernels = codec::row_kernels();
  const std::string data = read(*device_, sized(received_, Outputs::kExact));
  const std::string scales = read(*device_, sized(received_scales_, Outputs::kExact));
  const auto hidden = static_cast<std::size_t>(rows_.dim(1));
  const std::size_t scale_bytes = hidden / kScaleGroup * sizeof(float);
  std::vector<float> decoded(hidden);
  std::vector<std::uint16_t> rows(data.size());
  for (std::size_t row = 0; row < static_cast<std::size_t>(num_rows()); ++row) {
    kernels.decode_dispatch(DispatchFormat::kFp8,
                            reinterpret_cast<const std::byte*>(data.data()) + row * hidden,
                            reinterpret_cast<const std::byte*>(scales.data()) + row * scale_bytes,
                            static_cast<int>(hidden), decoded.data());
    std::transform(decoded.begin(), decoded.end(),
                   rows.begin() + static_cast<std::ptrdiff_t>(row * hidden), codec::float_to_bf16);
  }
  device_->copy_in(rows_.data, rows.data(), rows.size() * sizeof(rows[0]));
}

void ThroughputDeviceSet::poison_received() {
  poison(*device_, sized(received_, Outputs::kExact));
  poison(*device_, sized(received_scales_, Outputs::kExact));
}

void ThroughputDeviceSet::poison_output() { poison(*device_, output_); }

std::string ThroughputDeviceSet::received_in_place(const DispatchedRows& rows) const {
  std::string all = read(*device_, first_rows(rows.x, counts_.num_rows));
  if (!rows.scales.empty()) all += read(*device_, first_rows(rows.scales, counts_.num_rows));
  return all;
}

std::string ThroughputDeviceSet::output() const { return read(*device_, output_); }

std::unique_ptr<ThroughputDeviceSet> make_throughput_set(
    std::shared_ptr<detail::DeviceBackend> device, const BenchOptions& options,
    const BenchCase& bench, const BenchInputs& inputs) {
  if (options.communication.expanded()) {
    return std::make_unique<ExpertSet>(std::move(device), options, bench, inputs);
  }
  return std::make_unique<SourceSet>(std::move(device), options, bench, inputs);
}

}  // namespace braid::app
