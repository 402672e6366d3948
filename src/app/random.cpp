#include "app/random.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numbers>
#include <numeric>
#include <thread>
#include <utility>

#include "base/check.hpp"
#include "codec/bfloat16.hpp"
#include "model/safetensors.hpp"

namespace braid::app {
namespace {

// Streams: what a seed is used for, so that tokens don't repeat the routing's numbers.
constexpr std::uint64_t kPopularityStream = 1;
constexpr std::uint64_t kRoutingStream = 1000;

constexpr std::uint64_t kStep = 0x9e3779b97f4a7c15ULL;  // SplitMix64's
constexpr std::size_t kTokensOfAThread = 1 << 20;       // values, at least: what a start is worth

std::int64_t read_index(const model::TensorView& view, std::size_t i) {
  if (*view.dtype == DType::kInt32) {
    std::int32_t value = 0;
    std::memcpy(&value, view.data + i * sizeof value, sizeof value);
    return value;
  }
  std::int64_t value = 0;
  std::memcpy(&value, view.data + i * sizeof value, sizeof value);
  return value;
}

std::vector<double> expert_weights(Popularity popularity, int num_experts, std::uint64_t seed) {
  std::vector<double> weights(static_cast<std::size_t>(num_experts), 1.0);
  if (popularity == Popularity::kUniform) return weights;
  for (std::size_t i = 0; i < weights.size(); ++i) weights[i] = 1.0 / static_cast<double>(i + 1);
  Random random(seed, kPopularityStream);
  for (int i = num_experts - 1; i > 0; --i) {
    std::swap(weights[static_cast<std::size_t>(i)],
              weights[static_cast<std::size_t>(random.below(i + 1))]);
  }
  return weights;
}

}  // namespace

Random::Random(std::uint64_t seed, std::uint64_t stream) : state_(seed) {
  state_ = next() ^ (stream * 0xd1342543de82ef95ULL);
  next();
}

void Random::skip(std::uint64_t numbers) { state_ += numbers * kStep; }

std::uint64_t Random::next() {
  state_ += kStep;
  std::uint64_t word = state_;
  word = (word ^ (word >> 30)) * 0xbf58476d1ce4e5b9ULL;
  word = (word ^ (word >> 27)) * 0x94d049bb133111ebULL;
  return word ^ (word >> 31);
}

double Random::uniform() { return static_cast<double>((next() >> 11) + 1) * 0x1p-53; }

double Random::normal() {
  const double radius = std::sqrt(-2.0 * std::log(uniform()));
  return radius * std::cos(2.0 * std::numbers::pi * uniform());
}

int Random::below(int limit) {
  return static_cast<int>(next() % static_cast<std::uint64_t>(limit));
}

std::vector<std::uint16_t> random_tokens(Random& random, std::int64_t num_tokens, int hidden,
                                         double rms) {
  std::vector<std::uint16_t> tokens(static_cast<std::size_t>(num_tokens * hidden));
  const auto draw = [&tokens, rms](Random from, std::size_t begin, std::size_t end) {
    from.skip(begin * Random::kNumbersOfNormal);
    for (std::size_t i = begin; i < end; ++i) {
      tokens[i] = codec::float_to_bf16(static_cast<float>(rms * from.normal()));
    }
  };
  const std::size_t parts = std::clamp<std::size_t>(
      tokens.size() / kTokensOfAThread, 1, std::max(std::thread::hardware_concurrency(), 1U));
  std::vector<std::jthread> threads;
  for (std::size_t part = 1; part < parts; ++part) {
    threads.emplace_back(draw, random, tokens.size() * part / parts,
                         tokens.size() * (part + 1) / parts);
  }
  draw(random, 0, tokens.size() / parts);
  threads.clear();
  random.skip(tokens.size() * Random::kNumbersOfNormal);
  return tokens;
}

std::vector<float> random_weights(Random& random, const std::vector<std::int64_t>& topk_idx,
                                  int top_k) {
  const auto k = static_cast<std::size_t>(top_k);
  std::vector<float> weights(topk_idx.size());
  for (std::size_t token = 0; token * k < weights.size(); ++token) {
    double sum = 0;
    for (std::size_t i = token * k; i < (token + 1) * k; ++i) {
      weights[i] = static_cast<float>(0.5 + random.uniform());
      if (topk_idx[i] >= 0) sum += weights[i];
    }
    if (sum == 0) continue;
    for (std::size_t i = token * k; i < (token + 1) * k; ++i) {
      weights[i] = static_cast<float>(weights[i] / sum);
    }
  }
  return weights;
}

Routing random_routing(Popularity popularity, int num_experts, int top_k, std::int64_t num_tokens,
                       std::uint64_t seed, int rank) {
  const std::vector<double> popular = expert_weights(popularity, num_experts, seed);
  Random random(seed, kRoutingStream + static_cast<std::uint64_t>(rank));
  Routing routing{top_k, {}, {}};
  std::vector<std::pair<double, std::int64_t>> keys(popular.size());
  for (std::int64_t token = 0; token < num_tokens; ++token) {
    // The experts with the shortest exponential waits are a draw without replacement.
    for (std::size_t e = 0; e < keys.size(); ++e) {
      keys[e] = {-std::log(random.uniform()) / popular[e], static_cast<std::int64_t>(e)};
    }
    std::partial_sort(keys.begin(), keys.begin() + top_k, keys.end());
    for (int i = 0; i < top_k; ++i) {
      routing.topk_idx.push_back(keys[static_cast<std::size_t>(i)].second);
    }
  }
  routing.topk_weights = random_weights(random, routing.topk_idx, top_k);
  return routing;
}

RecordedRouting read_routing(const std::string& path, int num_experts) {
  const model::SafetensorsFile file(path);
  const model::TensorView& view = file.at("topk_idx");
  const bool is_index = view.dtype == DType::kInt32 || view.dtype == DType::kInt64;
  if (!is_index || view.shape.size() != 2 || view.shape[0] < 1 || view.shape[1] < 1) {
    fail(ErrorCode::kFormat, "{}: topk_idx is {}, but must be I32 or I64 [tokens, top-k]", path,
         view.describe());
  }
  RecordedRouting recorded;
  recorded.num_tokens = view.shape[0];
  require(view.shape[1] <= 32, "{}: topk_idx has {} choices a token, but top-k is at most 32", path,
          view.shape[1]);
  recorded.top_k = static_cast<int>(view.shape[1]);
  recorded.topk_idx.resize(static_cast<std::size_t>(view.num_elements()));
  for (std::size_t i = 0; i < recorded.topk_idx.size(); ++i) {
    const std::int64_t expert = read_index(view, i);
    require(expert >= -1 && expert < num_experts,
            "{}: topk_idx of token {} names expert {}, but must be from 0 to {}, or -1", path,
            i / static_cast<std::size_t>(recorded.top_k), expert, num_experts - 1);
    recorded.topk_idx[i] = expert;
  }
  return recorded;
}

Routing replay(const RecordedRouting& recorded, std::int64_t num_tokens, std::uint64_t seed,
               int rank) {
  Routing routing{recorded.top_k, {}, {}};
  for (std::int64_t token = 0; token < num_tokens; ++token) {
    const std::int64_t row = (rank * num_tokens + token) % recorded.num_tokens;
    const auto begin = recorded.topk_idx.begin() + row * recorded.top_k;
    routing.topk_idx.insert(routing.topk_idx.end(), begin, begin + recorded.top_k);
  }
  Random random(seed, kRoutingStream + static_cast<std::uint64_t>(rank));
  routing.topk_weights = random_weights(random, routing.topk_idx, recorded.top_k);
  return routing;
}

}  // namespace braid::app
