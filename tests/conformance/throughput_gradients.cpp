// A layer's forward and backward pass over high throughput, with rows by source and by expert. The
// experts multiply by channel, so that one device's values and gradients are short sums.
#include <algorithm>
#include <cstring>
#include <numeric>

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
  r.inputs[static_cast<std::size_t>(group_.rank())].weights = forward.weights;
  dispatch(c, r);
  pass(received, gradients);
  return check_gradients({forward, mine(r)}, out.x.host, gradients);
}

std::string ThroughputRun::check_gradients(const Passes& passes,
                                           const std::vector<std::uint16_t>& out,
                                           const Combined& gradients) {
  const auto& [forward, backward] = passes;
  const auto n = static_cast<std::size_t>(forward.num_tokens);
  std::vector<double> expected, expected_gradient;
  for (std::size_t token = 0; token < n; ++token) {
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
  if (diff_of(expected, out) > 1e-5) return "the layer's output is wrong";
  if (diff_of(expected_gradient, gradients.x.host) > 1e-5) return "the gradients of x are wrong";
  return "";
}

// Of rows by expert: each by its own expert, unweighted, which combine does. Padding is not a
// number, which nobody may read.
std::vector<std::uint16_t> ThroughputRun::expert_slopes(const Expanded& e) const {
  std::vector<std::uint16_t> rows = as_rows(e.x.host);
  for (std::size_t place = 0; place < e.row_experts.host.size(); ++place) {
    const std::int32_t local = e.row_experts.host[place];
    for (std::size_t i = 0; i < kHidden; ++i) {
      std::uint16_t& value = rows[place * kHidden + i];
      const int expert = group_.rank() * kLocalExperts + local;
      value = local < 0 ? kNan
                        : codec::float_to_bf16(factor_of(expert, static_cast<int>(i)) *
                                               codec::bf16_to_float(value));
    }
  }
  return rows;
}

// Of each received row's choices, from what stands at their places: those of an expert follow each
// other in the order of the rows.
std::vector<float> ThroughputRun::weight_gradients(const Routed& r, const Expanded& e,
                                                   const std::vector<std::uint16_t>& x) const {
  const std::vector<std::uint16_t> dy = as_rows(e.x.host);
  std::vector<std::size_t> next(kLocalExperts, 0);
  for (std::size_t local = 0; local < next.size(); ++local) {
    const auto& experts = e.row_experts.host;
    next[local] = static_cast<std::size_t>(
        std::find(experts.begin(), experts.end(), static_cast<std::int32_t>(local)) -
        experts.begin());
  }
  std::vector<float> gradients(r.out_weights.host.size(), 0.0F);
  for (std::size_t row = 0; row < r.rows.size(); ++row) {
    const std::vector<std::size_t> first = next;
    for (std::size_t at = row * kTopK; at < (row + 1) * kTopK; ++at) {
      const std::int32_t local = r.out_idx32.host[at];
      if (local < 0) continue;
      const auto expert = static_cast<std::size_t>(local);
      gradients[at] = weight_gradient(group_.rank() * kLocalExperts + local,
                                      &x[first[expert] * kHidden], &dy[first[expert] * kHidden]);
      next[expert] = first[expert] + 1;  // once, where its token names the expert again too
    }
  }
  return gradients;
}

std::string ThroughputRun::run_expanded_gradients(Routing routing, std::uint64_t seed) {
  ThroughputCase c;
  c.workers = 2;
  c.expert_alignment = 16;
  Routed r;
  lay_out(c, {group_.topology(), routing, seed, kThroughputTokens}, r);
  if (std::string difference = check_received(c, r); !difference.empty()) return difference;
  const auto counts = rows_per_expert(r.inputs, group_.rank(), c.expert_alignment);
  Expanded e;
  e.num_rows = std::accumulate(counts.begin(), counts.end(), std::int64_t{0});
  const RankInput forward = mine(r);
  const std::int64_t n = forward.num_tokens;
  const auto pass = [&](Mirror<std::uint16_t>& out) {
    dispatch_expanded(c, r, e);
    e.y.reset(memory_, expert_slopes(e));
    out.reset(memory_, std::vector<std::uint16_t>(static_cast<std::size_t>(n * kHidden)));
    buffer_.combine_expanded(r.handle,
                             {{e.y.data(), DType::kBFloat16, {e.num_rows, kHidden}},
                              {r.out_weights.data(), DType::kFloat32, {r.num_rows, kTopK}}},
                             {{out.data(), DType::kBFloat16, {n, kHidden}}, {}}, {}, stream_);
    stream_.synchronize();
    out.download();
  };
  Mirror<std::uint16_t> out;
  pass(out);
  const std::vector<std::uint16_t> received = as_rows(e.x.host);
  change_tokens(r, seed + 1000);
  r.inputs[static_cast<std::size_t>(group_.rank())].weights = forward.weights;
  Combined gradients;
  pass(gradients.x);
  // The weights' gradients go home with rows by source, on the same handle.
  dispatch(c, r);
  Mirror<float> dw(memory_, weight_gradients(r, e, received));
  Mirror<std::uint16_t> unused(memory_, out.host);
  gradients.weights.reset(memory_, std::vector<float>(static_cast<std::size_t>(n * kTopK)));
  buffer_.combine(r.handle,
                  {{r.x.data(), DType::kBFloat16, {r.num_rows, kHidden}},
                   {dw.data(), DType::kFloat32, {r.num_rows, kTopK}}},
                  {{unused.data(), DType::kBFloat16, {n, kHidden}},
                   {gradients.weights.data(), DType::kFloat32, {n, kTopK}}},
                  {}, stream_);
  stream_.synchronize();
  gradients.weights.download();
  return check_gradients({forward, mine(r)}, out.host, gradients);
}

}  // namespace braid::conformance
