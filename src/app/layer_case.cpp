#include "app/layer_case.hpp"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "app/random.hpp"
#include "base/check.hpp"
#include "base/math.hpp"
#include "codec/bfloat16.hpp"
#include "model/samples.hpp"

namespace braid::app {
namespace {

constexpr int kRandomTokens = 64;
constexpr std::uint64_t kTokenStream = 2;

// Who computed the expected output: the key "reference" of the file's metadata, where it has one.
// Without it the file is one of tools/make_layer_fixture.py, which runs transformers. The file was
// read before, so its header is known to be well-formed.
std::string reference_name(const std::filesystem::path& expected) {
  std::ifstream file(expected, std::ios::binary);
  std::uint64_t size = 0;
  file.read(reinterpret_cast<char*>(&size), sizeof size);
  std::string header(file ? size : 0, '\0');
  file.read(header.data(), static_cast<std::streamsize>(header.size()));
  const nlohmann::json parsed = nlohmann::json::parse(header, nullptr, false);
  if (!parsed.is_object() || !parsed.contains("__metadata__")) return "transformers";
  const nlohmann::json& metadata = parsed["__metadata__"];
  if (!metadata.is_object() || !metadata.contains("reference")) return "transformers";
  return metadata["reference"].is_string() ? metadata["reference"].get<std::string>()
                                           : "transformers";
}

// The router refuses such tokens too, but then the other ranks are waiting already.
void check_finite(const LayerCase& layer) {
  const auto is_finite = [](std::uint16_t value) {
    return codec::bf16_magnitude(value) < codec::kBf16Infinity;
  };
  const auto& values = layer.hidden_states;
  const auto bad = std::find_if_not(values.begin(), values.end(), is_finite);
  if (bad == values.end()) return;
  const auto at = bad - values.begin();
  const std::ptrdiff_t hidden = layer.shape.hidden;
  fail(ErrorCode::kInvalidArgument,
       "hidden_states of token {} has {} in channel {}, but must be finite", at / hidden,
       codec::bf16_to_float(*bad), at % hidden);
}

// Refuses more tokens than a buffer can have, before memory for them is asked for.
void check_tokens(const RunOptions& options, const LayerShape& shape, std::int64_t num_tokens) {
  const CommunicationOptions& communication = options.communication;
  const std::int64_t most = ceil_div<std::int64_t>(num_tokens, communication.ranks);
  check_buffer(communication, shape, static_cast<int>(most));
}

void take_samples(const RunOptions& options, LayerCase& result) {
  const std::filesystem::path directory(options.layer);
  model::Samples samples = model::load_samples(directory, result.layer.config);
  require(samples.num_tokens >= 1, "{} has no hidden states to run the layer on",
          (directory / "inputs.safetensors").string());
  require(options.tokens <= samples.num_tokens,
          "--tokens is {}, but must be at most the number of inputs in {}, {}", options.tokens,
          options.layer, samples.num_tokens);
  result.num_tokens = options.tokens == 0 ? samples.num_tokens : options.tokens;
  check_tokens(options, result.shape, result.num_tokens);
  const auto values = static_cast<std::size_t>(result.num_tokens * result.shape.hidden);
  result.hidden_states = std::move(samples.hidden_states);
  result.hidden_states.resize(values);
  check_finite(result);
  if (samples.expected.empty()) return;
  result.expected = std::move(samples.expected);
  result.expected.resize(values);
  result.reference = reference_name(directory / "expected.safetensors");
}

}  // namespace

Tensor LayerCase::x_of(int rank, int ranks) const {
  const Range tokens = tokens_of(rank, ranks);
  auto* own = const_cast<std::uint16_t*>(hidden_states.data()) + tokens.begin * shape.hidden;
  return {own, DType::kBFloat16, {tokens.size(), shape.hidden}};
}

std::vector<ExpertWeights> LayerCase::experts_of(int rank, int ranks) const {
  const int num_local = shape.experts / ranks;
  const auto begin = layer.experts.begin() + std::ptrdiff_t{rank} * num_local;
  return {begin, begin + num_local};
}

LayerCase load_case(const RunOptions& options) {
  check(options);
  check(options.communication);
  LayerCase result;
  result.layer = model::load_layer(options.layer, options.layer_index);
  const model::LayerConfig& config = result.layer.config;
  result.shape = {static_cast<int>(config.hidden), config.num_experts(), config.top_k()};
  check(options.communication, result.shape);
  result.reference = "dense_f32";
  if (model::has_samples(options.layer)) {
    take_samples(options, result);
  } else {
    result.num_tokens = options.tokens == 0 ? kRandomTokens : options.tokens;
    check_tokens(options, result.shape, result.num_tokens);
    Random random(options.communication.seed, kTokenStream);
    result.hidden_states = random_tokens(random, result.num_tokens, result.shape.hidden, 1.0);
  }
  return result;
}

}  // namespace braid::app
