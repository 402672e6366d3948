#include "app/throughput_device_set.hpp"

#include <algorithm>
#include <cstddef>
#include <utility>
#include <vector>

#include "app/device_tensors.hpp"
#include "codec/bfloat16.hpp"
#include "codec/row.hpp"
#include "codec/rows.hpp"

namespace braid::app {
namespace {

// Tokens as they are sent; of BF16 without scales.
struct EncodedTokens {
  std::vector<std::byte> data, scales;
  std::size_t data_bytes, scale_bytes;  // of a row
};

EncodedTokens encode(DispatchFormat format, int hidden, const std::vector<std::uint16_t>& tokens) {
  const auto row_channels = static_cast<std::size_t>(hidden);
  const std::size_t num_tokens = tokens.size() / row_channels;
  EncodedTokens encoded{
      {},
      {},
      static_cast<std::size_t>(codec::dispatch_data_bytes(format, hidden)),
      static_cast<std::size_t>(codec::dispatch_scale_bytes(format, hidden)),
  };
  encoded.data.resize(num_tokens * encoded.data_bytes);
  encoded.scales.resize(num_tokens * encoded.scale_bytes);
  const codec::RowKernels& kernels = codec::row_kernels();
  for (std::size_t token = 0; token < num_tokens; ++token) {
    kernels.encode_dispatch(format, tokens.data() + token * row_channels, hidden,
                            encoded.data.data() + token * encoded.data_bytes,
                            encoded.scales.data() + token * encoded.scale_bytes);
  }
  return encoded;
}

// The same tensor, with so many rows.
Tensor first_rows(const Tensor& tensor, std::int64_t num_rows) {
  return {tensor.data, tensor.dtype, {num_rows, tensor.dim(1)}};
}

}  // namespace

ThroughputDeviceSet::ThroughputDeviceSet(std::shared_ptr<detail::DeviceBackend> device,
                                         const BenchOptions& options, const BenchCase& bench,
                                         const BenchInputs& inputs)
    : device_(std::move(device)) {
  const DispatchFormat format = options.communication.dispatch;
  const bool fp8 = format != DispatchFormat::kBf16;
  const std::int64_t tokens = options.tokens;
  const std::int64_t hidden = bench.shape.hidden;
  const std::int64_t capacity = options.communication.ranks * tokens;
  const DType dtype = fp8 ? DType::kFloat8E4M3 : DType::kBFloat16;
  x_ = Tensor(nullptr, dtype, {tokens, hidden});
  topk_idx_ = Tensor(nullptr, DType::kInt64, {tokens, bench.shape.top_k});
  received_ = Tensor(nullptr, dtype, {capacity, hidden});
  output_ = Tensor(nullptr, DType::kBFloat16, {tokens, hidden});
  std::vector<Tensor*> all = {&x_, &topk_idx_, &received_, &output_};
  if (fp8) {
    scales_ = Tensor(nullptr, DType::kFloat32, {tokens, hidden / kScaleGroup});
    received_scales_ = Tensor(nullptr, DType::kFloat32, {capacity, hidden / kScaleGroup});
    rows_ = Tensor(nullptr, DType::kBFloat16, {capacity, hidden});
    all.insert(all.end(), {&scales_, &received_scales_, &rows_});
  }
  memory_ = allocate(*device_, all);
  const EncodedTokens encoded = encode(format, bench.shape.hidden, inputs.tokens);
  device_->copy_in(x_.data, encoded.data.data(), encoded.data.size());
  if (fp8) device_->copy_in(scales_.data, encoded.scales.data(), encoded.scales.size());
  device_->copy_in(topk_idx_.data, inputs.routing.topk_idx.data(), topk_idx_.num_bytes());
}

void ThroughputDeviceSet::decode_rows(std::int64_t num_rows) {
  if (received_scales_.empty()) return;
  const codec::RowKernels& kernels = codec::row_kernels();
  const std::string data = read(*device_, first_rows(received_, num_rows));
  const std::string scales = read(*device_, first_rows(received_scales_, num_rows));
  const auto hidden = static_cast<std::size_t>(rows_.dim(1));
  const std::size_t scale_bytes = hidden / kScaleGroup * sizeof(float);
  std::vector<float> decoded(hidden);
  std::vector<std::uint16_t> rows(static_cast<std::size_t>(num_rows) * hidden);
  for (std::size_t row = 0; row < static_cast<std::size_t>(num_rows); ++row) {
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
  poison(*device_, received_);
  poison(*device_, received_scales_);
}

void ThroughputDeviceSet::poison_output() { poison(*device_, output_); }

std::string ThroughputDeviceSet::received(std::int64_t num_rows) const {
  return received(dispatch_output(), num_rows);
}

std::string ThroughputDeviceSet::received(const DispatchedRows& rows, std::int64_t num_rows) const {
  std::string all = read(*device_, first_rows(rows.x, num_rows));
  if (!rows.scales.empty()) all += read(*device_, first_rows(rows.scales, num_rows));
  return all;
}

std::string ThroughputDeviceSet::output() const { return read(*device_, output_); }

std::string sent_rows(const BenchOptions& options, const BenchCase& bench, int rank, int set) {
  std::string rows, scales;
  for (int source = 0; source < options.communication.ranks; ++source) {
    const BenchInputs inputs = bench_inputs(options, bench, source, set);
    const EncodedTokens encoded =
        encode(options.communication.dispatch, bench.shape.hidden, inputs.tokens);
    const auto append = [](std::string& all, const std::vector<std::byte>& from, std::size_t bytes,
                           std::size_t row) {
      all.append(reinterpret_cast<const char*>(from.data()) + row * bytes, bytes);
    };
    for (int token = 0; token < options.tokens; ++token) {
      const std::vector<int> ranks = ranks_of_token(options, bench, inputs.routing, token);
      if (std::find(ranks.begin(), ranks.end(), rank) == ranks.end()) continue;
      append(rows, encoded.data, encoded.data_bytes, static_cast<std::size_t>(token));
      append(scales, encoded.scales, encoded.scale_bytes, static_cast<std::size_t>(token));
    }
  }
  return rows + scales;
}

}  // namespace braid::app
