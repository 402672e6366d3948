// The expanded form against the oracle: rows by local expert, padded, and home again.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "codec/bfloat16.hpp"
#include "codec/row.hpp"
#include "conformance/throughput_run.hpp"

namespace braid::conformance {
namespace {

constexpr std::int32_t kUnwritten = -7;

// One BF16 row: the weighted outputs of a rank's experts, in the order of the token's choices.
std::vector<std::uint16_t> summed_experts(const ThroughputCase& c, const RankInput& input,
                                          int token, int rank) {
  const EncodedRow row = encoded(c.format(), input, token);
  const auto locals = local_choices(input, token, rank);
  std::vector<float> sum(kHidden, 0.0F);
  for (std::size_t choice = 0; choice < kTopK; ++choice) {
    if (locals[choice] < 0) continue;
    const auto y = expert_output(c.format(), row, rank * kLocalExperts + locals[choice]);
    const float weight = input.weights[static_cast<std::size_t>(token) * kTopK + choice];
    for (std::size_t i = 0; i < kHidden; ++i) {
      sum[i] = std::fma(weight, codec::bf16_to_float(y[i]), sum[i]);
    }
  }
  std::vector<std::uint16_t> rounded(sum.size());
  std::transform(sum.begin(), sum.end(), rounded.begin(), codec::sum_to_bf16);
  return rounded;
}

std::vector<std::uint16_t> expected_home(const ThroughputCase& c, const RankInput& input) {
  std::vector<std::vector<std::uint16_t>> biases;
  for (int bias = 0; bias < c.num_biases; ++bias) biases.push_back(bias_of(input, bias));
  std::vector<std::uint16_t> output(input.x.size());
  auto next = output.begin();
  for (int token = 0; token < input.num_tokens; ++token) {
    std::vector<float> sum(kHidden, 0.0F);
    for (const auto& bias : biases) {
      for (std::size_t i = 0; i < kHidden; ++i) {
        sum[i] += codec::bf16_to_float(bias[static_cast<std::size_t>(token) * kHidden + i]);
      }
    }
    for (const int rank : ranks_of_token(input, token)) {
      const auto row = summed_experts(c, input, token, rank);
      for (std::size_t i = 0; i < kHidden; ++i) sum[i] += codec::bf16_to_float(row[i]);
    }
    next = std::transform(sum.begin(), sum.end(), next, codec::sum_to_bf16);
  }
  return output;
}

}  // namespace

void ThroughputRun::dispatch_expanded(const ThroughputCase& c, Routed& r, Expanded& e) {
  const std::int64_t data_bytes = codec::dispatch_data_bytes(c.format(), kHidden);
  const std::int64_t scale_bytes = codec::dispatch_scale_bytes(c.format(), kHidden);
  const auto bytes = [&e](std::int64_t each) {
    return std::vector(static_cast<std::size_t>(e.num_rows * each), kPoison);
  };
  e.x.reset(memory_, bytes(data_bytes));
  e.scales.reset(memory_, bytes(scale_bytes));
  e.row_experts.reset(memory_, std::vector(static_cast<std::size_t>(e.num_rows), kUnwritten));
  r.out_weights.reset(memory_, std::vector(static_cast<std::size_t>(r.num_rows * kTopK), -1.0F));
  const DispatchRows input = dispatch_input(c, r);
  ExpandedRows output;
  const bool is_bf16 = c.format() == DispatchFormat::kBf16;
  output.x = {e.x.data(), is_bf16 ? DType::kBFloat16 : DType::kFloat8E4M3, {e.num_rows, kHidden}};
  if (!is_bf16) {
    output.scales = {e.scales.data(), DType::kFloat32, {e.num_rows, kHidden / kScaleGroup}};
  }
  output.row_experts = {e.row_experts.data(), DType::kInt32, {e.num_rows}};
  output.topk_weights = {r.out_weights.data(), DType::kFloat32, {r.num_rows, kTopK}};
  DispatchRowsOptions options;
  options.format = c.format();
  options.workers = c.workers;
  buffer_.dispatch_expanded(r.handle, input, output, options, stream_);
  stream_.synchronize();
  e.x.download();
  e.scales.download();
  e.row_experts.download();
}

// Also computes the experts' outputs.
std::string ThroughputRun::check_expanded(const ThroughputCase& c, const Routed& r, Expanded& e) {
  const auto data_bytes = static_cast<std::size_t>(codec::dispatch_data_bytes(c.format(), kHidden));
  const auto scale_bytes =
      static_cast<std::size_t>(codec::dispatch_scale_bytes(c.format(), kHidden));
  std::vector<std::uint16_t> y(static_cast<std::size_t>(e.num_rows * kHidden), kNan);
  std::size_t place = 0;
  const auto row_at = [&](std::size_t at) {
    const auto part = [at](const std::vector<std::byte>& all, std::size_t each) {
      const auto begin = all.begin() + static_cast<std::ptrdiff_t>(at * each);
      return std::vector<std::byte>(begin, begin + static_cast<std::ptrdiff_t>(each));
    };
    return EncodedRow{part(e.x.host, data_bytes), part(e.scales.host, scale_bytes)};
  };
  const auto expect_padding = [&](std::size_t end) {
    for (; place < end; ++place) {
      const EncodedRow row = row_at(place);
      if (e.row_experts.host[place] != -1 || !is_poison(row.data.data(), row.data.size()) ||
          !is_poison(row.scales.data(), row.scales.size())) {
        return fmt::format("place {} is no padding", place);
      }
    }
    return std::string();
  };
  const auto counts = rows_per_expert(r.inputs, group_.rank(), c.expert_alignment);
  std::size_t end = 0;
  for (int local = 0; local < kLocalExperts; ++local) {
    end += static_cast<std::size_t>(counts[static_cast<std::size_t>(local)]);
    const int expert = group_.rank() * kLocalExperts + local;
    for (const ExpectedRow& from : rows_of(r.inputs, expert)) {
      const EncodedRow expected =
          encoded(c.format(), r.inputs[static_cast<std::size_t>(from.source)], from.token);
      const EncodedRow seen = row_at(place);
      if (seen != expected || e.row_experts.host[place] != local) {
        return fmt::format("place {} is not token {} of rank {} for expert {}", place, from.token,
                           from.source, local);
      }
      const auto output = expert_output(c.format(), seen, expert);
      std::copy(output.begin(), output.end(),
                y.begin() + static_cast<std::ptrdiff_t>(place * kHidden));
      ++place;
    }
    if (std::string difference = expect_padding(end); !difference.empty()) return difference;
  }
  e.y.reset(memory_, std::move(y));
  return expect_padding(static_cast<std::size_t>(e.num_rows));
}

std::string ThroughputRun::combine_expanded(const ThroughputCase& c, Routed& r, Expanded& e) {
  const RankInput& own = mine(r);
  const std::int64_t n = own.num_tokens;
  Mirror<std::uint16_t> out(memory_, std::vector(static_cast<std::size_t>(n * kHidden), kNan));
  Mirror<std::uint16_t> biases[2];
  CombineRowsOptions options;
  options.workers = c.workers;
  for (int bias = 0; bias < c.num_biases; ++bias) {
    const auto at = static_cast<std::size_t>(bias);
    biases[at].reset(memory_, bias_of(own, bias));
    options.biases[at] = {biases[at].data(), DType::kBFloat16, {n, kHidden}};
  }
  buffer_.combine_expanded(r.handle,
                           {{e.y.data(), DType::kBFloat16, {e.num_rows, kHidden}},
                            {r.out_weights.data(), DType::kFloat32, {r.num_rows, kTopK}}},
                           {{out.data(), DType::kBFloat16, {n, kHidden}}, {}}, options, stream_);
  stream_.synchronize();
  out.download();
  return out.host == expected_home(c, own) ? ""
                                           : "the rows combined from the expanded form are wrong";
}

std::string ThroughputRun::run_expanded(const ThroughputCase& c, Routing routing,
                                        std::uint64_t seed) {
  Routed r;
  lay_out(c, {group_.topology(), routing, seed, kThroughputTokens}, r);
  Expanded e;
  // The worst case: a row for each choice, and padding.
  e.num_rows = r.num_rows * kTopK + kLocalExperts * (c.expert_alignment - 1);
  if (c.is_exact()) {
    if (std::string difference = check_received(c, r); !difference.empty()) return difference;
    const auto counts = rows_per_expert(r.inputs, group_.rank(), c.expert_alignment);
    e.num_rows = std::accumulate(counts.begin(), counts.end(), std::int64_t{0});
  }
  for (int turn = 0; turn < 2; ++turn) {
    if (turn > 0) change_tokens(r, seed + 1000);
    dispatch_expanded(c, r, e);
    std::string difference = check_expanded(c, r, e);
    if (difference.empty()) difference = combine_expanded(c, r, e);
    if (!difference.empty()) return difference;
  }
  return "";
}

}  // namespace braid::conformance
