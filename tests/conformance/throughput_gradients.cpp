// A layer's forward and backward pass over high throughput. The experts multiply by channel, so
// that one device's values and gradients are short sums.
#include <cstring>

#include "codec/bfloat16.hpp"
#include "conformance/rank_run.hpp"
#include "conformance/throughput_run.hpp"

namespace braid::conformance {
namespace {

double value_of(std::uint16_t bf16) { return codec::bf16_to_float(bf16); }

std::vector<std::uint16_t> as_rows(const std::vector<std::byte>& bytes) {
  std::vector<std::uint16_t> rows(bytes.size() / 2);
  if (!rows.empty()) std::memcpy(rows.data(), bytes.data(), bytes.size());
  return rows;
}

// By channel, what a token's experts multiply it by, with their weights.
std::vector<double> slope_of(const std::int32_t* experts, const float* weights) {
  std::vector<double> slope(kHidden, 0.0);
  for (int choice = 0; choice < kTopK; ++choice) {
    if (experts[choice] < 0) continue;
    for (int i = 0; i < kHidden; ++i) {
      slope[static_cast<std::size_t>(i)] +=
          static_cast<double>(weights[choice]) * static_cast<double>(factor_of(experts[choice], i));
    }
  }
  return slope;
}

float weight_gradient(int expert, const std::uint16_t* x, const std::uint16_t* dy) {
  double sum = 0.0;
  for (int i = 0; i < kHidden; ++i) {
    sum += static_cast<double>(factor_of(expert, i)) * value_of(x[i]) * value_of(dy[i]);
  }
  return static_cast<float>(sum);
}

}  // namespace

// What the experts of a rank do with its rows: `from` times their slopes; and where `x` is given,
// the gradients of their weights.
CombineRows ThroughputRun::run_experts(const Routed& r, const std::vector<std::uint16_t>& x,
                                       Mirror<std::uint16_t>& y, Mirror<float>& dw) {
  const std::vector<std::uint16_t> from = as_rows(r.x.host);
  std::vector<std::uint16_t> rows(from.size());
  std::vector<float> gradients(r.out_weights.host.size(), 0.0F);
  for (std::size_t row = 0; row < r.rows.size(); ++row) {
    std::int32_t experts[kTopK];
    for (std::size_t choice = 0; choice < kTopK; ++choice) {
      const std::int32_t local = r.out_idx32.host[row * kTopK + choice];
      experts[choice] = local < 0 ? -1 : group_.rank() * kLocalExperts + local;
      if (local < 0 || x.empty()) continue;
      gradients[row * kTopK + choice] =
          weight_gradient(experts[choice], &x[row * kHidden], &from[row * kHidden]);
    }
    const auto slope = slope_of(experts, &r.out_weights.host[row * kTopK]);
    for (std::size_t i = 0; i < kHidden; ++i) {
      rows[row * kHidden + i] =
          codec::float_to_bf16(static_cast<float>(slope[i] * value_of(from[row * kHidden + i])));
    }
  }
  y.reset(memory_, std::move(rows));
  dw.reset(memory_, std::move(gradients));
  CombineRows input;
  input.x = {y.data(), DType::kBFloat16, {r.num_rows, kHidden}};
  input.topk_weights = {dw.data(), DType::kFloat32, {r.num_rows, kTopK}};
  return input;
}

std::string ThroughputRun::run_gradients(Routing routing, std::uint64_t seed) {
  ThroughputCase c;
  c.workers = 2;
  Routed r;
  lay_out(c, {group_.topology(), routing, seed, kThroughputTokens}, r);
  if (std::string difference = check_received(c, r); !difference.empty()) return difference;
  const RankInput forward = mine(r);
  const std::int64_t n = forward.num_tokens;
  const auto pass = [&](const std::vector<std::uint16_t>& x, Combined& out) {
    Mirror<std::uint16_t> y;
    Mirror<float> dw;
    const CombineRows input = run_experts(r, x, y, dw);
    out.x.reset(memory_, std::vector<std::uint16_t>(static_cast<std::size_t>(n * kHidden)));
    out.weights.reset(memory_, std::vector<float>(static_cast<std::size_t>(n * kTopK)));
    buffer_.combine(r.handle, input,
                    {{out.x.data(), DType::kBFloat16, {n, kHidden}},
                     {out.weights.data(), DType::kFloat32, {n, kTopK}}},
                    {}, stream_);
    stream_.synchronize();
    out.x.download();
    out.weights.download();
  };
  Combined out, gradients;
  dispatch(c, r);
  const std::vector<std::uint16_t> received = as_rows(r.x.host);
  pass({}, out);
  // The gradient of the output takes the tokens' way; the weights stay what they were.
  change_tokens(r, seed + 1000);
  RankInput& backward = r.inputs[static_cast<std::size_t>(group_.rank())];
  backward.weights = forward.weights;
  dispatch(c, r);
  pass(received, gradients);

  std::vector<double> expected, expected_gradient;
  for (std::size_t token = 0; token < static_cast<std::size_t>(n); ++token) {
    const auto slope = slope_of(&forward.topk_idx[token * kTopK], &forward.weights[token * kTopK]);
    for (std::size_t i = 0; i < kHidden; ++i) {
      expected.push_back(slope[i] * value_of(forward.x[token * kHidden + i]));
      expected_gradient.push_back(slope[i] * value_of(backward.x[token * kHidden + i]));
    }
    for (std::size_t at = token * kTopK; at < (token + 1) * kTopK; ++at) {
      const int expert = forward.topk_idx[at];
      const float dw = expert < 0 ? 0.0F
                                  : weight_gradient(expert, &forward.x[token * kHidden],
                                                    &backward.x[token * kHidden]);
      if (gradients.weights.host[at] != dw) return "the gradients of the weights are wrong";
    }
  }
  // BF16's own error: rows are rounded at their rank and where they are summed.
  if (diff_of(expected, out.x.host) > 1e-5) return "the layer's output is wrong";
  if (diff_of(expected_gradient, gradients.x.host) > 1e-5) return "the gradients of x are wrong";
  return "";
}

}  // namespace braid::conformance
