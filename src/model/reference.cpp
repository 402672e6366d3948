#include "model/reference.hpp"

#include <algorithm>
#include <cmath>

#include "base/check.hpp"
#include "base/math.hpp"
#include "codec/bfloat16.hpp"
#include "codec/e4m3.hpp"
#include "model/dot.hpp"
#include "model/parallel.hpp"

namespace braid::model {
namespace {

// Tokens go through the layer in chunks whose expert outputs, one row a route, take about this.
constexpr std::int64_t kChunkFloats = std::int64_t{64} << 20;

void decode_row(const WeightView& weight, std::int64_t row, std::vector<float>& decoded) {
  const std::int64_t first = row * weight.cols;
  decoded.resize(static_cast<std::size_t>(weight.cols));
  switch (weight.dtype) {
    case DType::kBFloat16: {
      const auto* stored = static_cast<const std::uint16_t*>(weight.data) + first;
      std::transform(stored, stored + weight.cols, decoded.begin(), codec::bf16_to_float);
      return;
    }
    case DType::kFloat32: {
      const auto* stored = static_cast<const float*>(weight.data) + first;
      std::copy(stored, stored + weight.cols, decoded.begin());
      return;
    }
    case DType::kFloat8E4M3: {
      const auto* stored = static_cast<const std::uint8_t*>(weight.data) + first;
      const float* scales = nullptr;
      if (weight.block_scales != nullptr) {
        scales = weight.block_scales + row / weight.block * weight.scale_cols();
      }
      for (std::int64_t col = 0; col < weight.cols; ++col) {
        const float scale = scales != nullptr ? scales[col / weight.block] : 1.0F;
        decoded[static_cast<std::size_t>(col)] = codec::e4m3_to_float(stored[col]) * scale;
      }
      return;
    }
    default:
      fail(ErrorCode::kInvalidArgument, "weights are {}, but must be bf16, f32 or f8_e4m3",
           to_string(weight.dtype));
  }
}

float silu(float x) { return x / (1.0F + std::exp(-x)); }

// A row of input and where its output goes.
struct Job {
  const float* in;
  float* out;
};

// Weight rows are the outer loop, so that each is decoded once for all jobs.
void run_network(const ExpertWeights& weights, const std::vector<Job>& jobs) {
  const std::int64_t width = weights.gate.rows;
  const std::int64_t hidden = weights.down.rows;
  std::vector<float> inner(jobs.size() * static_cast<std::size_t>(width));
  std::vector<float> gate_row;
  std::vector<float> up_row;
  for (std::int64_t channel = 0; channel < width; ++channel) {
    decode_row(weights.gate, channel, gate_row);
    decode_row(weights.up, channel, up_row);
    float* value = inner.data() + channel;
    for (const Job& job : jobs) {
      *value = silu(dot(job.in, gate_row.data(), hidden)) * dot(job.in, up_row.data(), hidden);
      value += width;
    }
  }
  std::vector<float> down_row;
  for (std::int64_t channel = 0; channel < hidden; ++channel) {
    decode_row(weights.down, channel, down_row);
    const float* in = inner.data();
    for (const Job& job : jobs) {
      job.out[channel] = dot(in, down_row.data(), width);
      in += width;
    }
  }
}

void check_routes(const Routes& routes, std::int64_t num_tokens, int num_experts) {
  const auto size = static_cast<std::size_t>(num_tokens * routes.top_k);
  require(routes.num_tokens == num_tokens && routes.topk_idx.size() == size &&
              routes.topk_weights.size() == size,
          "the routes are for {} tokens and have {} indices and {} weights, but there are {} "
          "tokens with {} choices each",
          routes.num_tokens, routes.topk_idx.size(), routes.topk_weights.size(), num_tokens,
          routes.top_k);
  for (std::size_t route = 0; route < size; ++route) {
    const std::int64_t expert = routes.topk_idx[route];
    require(expert >= -1 && expert < num_experts,
            "top-k index of token {} is {}, but must be -1 or from 0 to {}",
            route / static_cast<std::size_t>(routes.top_k), expert, num_experts - 1);
  }
}

// Tokens [first, first + count) of one reference run.
class Chunk {
 public:
  Chunk(const MoeLayer& layer, const Routes& routes, const ReferenceOptions& options,
        std::int64_t first)
      : layer_(layer), routes_(routes), options_(options), first_(first) {}

  void run(const std::uint16_t* hidden_states, std::int64_t count, float* output) {
    read_rows(hidden_states, count);
    run_experts(count);
    sum_routes(count, output);
    if (layer_.shared) add_shared(count, output);
  }

 private:
  std::int64_t hidden() const { return layer_.config.hidden; }
  std::int64_t expert_of(std::int64_t route) const {
    return routes_.topk_idx[static_cast<std::size_t>(first_ * routes_.top_k + route)];
  }
  float weight_of(std::int64_t route) const {
    return routes_.topk_weights[static_cast<std::size_t>(first_ * routes_.top_k + route)];
  }

  void read_rows(const std::uint16_t* bits, std::int64_t count) {
    rows_.resize(static_cast<std::size_t>(count * hidden()));
    std::transform(bits, bits + count * hidden(), rows_.begin(), codec::bf16_to_float);
    if (!options_.round_row) {
      seen_ = rows_;
      return;
    }
    seen_.resize(rows_.size());
    for_each_piece(count, options_.num_threads, [&](std::int64_t token) {
      options_.round_row(bits + token * hidden(), hidden(), seen_.data() + token * hidden());
    });
  }

  // One output row for each route, so that the sum can be taken in the order of choices.
  void run_experts(std::int64_t count) {
    route_rows_.resize(static_cast<std::size_t>(count * routes_.top_k * hidden()));
    std::vector<std::vector<Job>> jobs(layer_.experts.size());
    for (std::int64_t route = 0; route < count * routes_.top_k; ++route) {
      if (expert_of(route) < 0) continue;
      jobs[static_cast<std::size_t>(expert_of(route))].push_back(
          {.in = seen_.data() + route / routes_.top_k * hidden(),
           .out = route_rows_.data() + route * hidden()});
    }
    for_each_piece(std::ssize(jobs), options_.num_threads, [&](std::int64_t expert) {
      const auto e = static_cast<std::size_t>(expert);
      if (!jobs[e].empty()) run_network(layer_.experts[e], jobs[e]);
    });
  }

  void sum_routes(std::int64_t count, float* output) const {
    for (std::int64_t route = 0; route < count * routes_.top_k; ++route) {
      if (expert_of(route) < 0) continue;
      float* sum = output + route / routes_.top_k * hidden();
      const float* row = route_rows_.data() + route * hidden();
      for (std::int64_t channel = 0; channel < hidden(); ++channel) {
        sum[channel] += weight_of(route) * row[channel];
      }
    }
  }

  void add_shared(std::int64_t count, float* output) const {
    constexpr std::int64_t kTokensPerPiece = 64;
    for_each_piece(ceil_div(count, kTokensPerPiece), options_.num_threads, [&](std::int64_t piece) {
      const std::int64_t begin = piece * kTokensPerPiece;
      const std::int64_t end = min_of(begin + kTokensPerPiece, count);
      std::vector<float> results(static_cast<std::size_t>((end - begin) * hidden()));
      std::vector<Job> jobs;
      for (std::int64_t token = begin; token < end; ++token) {
        jobs.push_back({.in = rows_.data() + token * hidden(),
                        .out = results.data() + (token - begin) * hidden()});
      }
      run_network(*layer_.shared, jobs);
      float* sums = output + begin * hidden();
      for (std::size_t i = 0; i < results.size(); ++i) sums[i] += results[i];
    });
  }

  const MoeLayer& layer_;
  const Routes& routes_;
  const ReferenceOptions& options_;
  std::int64_t first_;
  std::vector<float> rows_;        // the tokens as given
  std::vector<float> seen_;        // the tokens as the routed experts see them
  std::vector<float> route_rows_;  // unweighted outputs, [count, top_k, hidden]
};

}  // namespace

std::vector<float> compute_reference(const MoeLayer& layer, const std::uint16_t* hidden_states,
                                     std::int64_t num_tokens, const ReferenceOptions& options) {
  Routes computed;
  if (options.routes == nullptr) {
    computed = route(layer, hidden_states, num_tokens, options.num_threads);
  } else {
    check_routes(*options.routes, num_tokens, layer.config.num_experts());
  }
  const Routes& routes = options.routes != nullptr ? *options.routes : computed;

  const std::int64_t hidden = layer.config.hidden;
  const std::int64_t chunk =
      max_of<std::int64_t>(1, kChunkFloats / (hidden * max_of(1, routes.top_k)));
  std::vector<float> output(static_cast<std::size_t>(num_tokens * hidden));
  for (std::int64_t first = 0; first < num_tokens; first += chunk) {
    Chunk(layer, routes, options, first)
        .run(hidden_states + first * hidden, min_of(chunk, num_tokens - first),
             output.data() + first * hidden);
  }
  return output;
}

}  // namespace braid::model
