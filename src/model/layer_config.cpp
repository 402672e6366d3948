#include "model/layer_config.hpp"

#include <array>
#include <cmath>
#include <limits>
#include <string>

#include "base/check.hpp"
#include "model/json.hpp"

namespace braid::model {
namespace {

// Typed access to the keys of one config.json.
class Config {
 public:
  explicit Config(const std::filesystem::path& path)
      : path_(path.string()), json_(read_json_object(path)) {}

  int positive(const char* key) const { return integer(key, 1); }
  int zero_or_more(const char* key) const { return integer(key, 0); }

  bool boolean(const char* key) const {
    const auto& value = at(key);
    if (!value.is_boolean()) reject(key, "true or false");
    return value.get<bool>();
  }

  float number(const char* key) const {
    const auto& value = at(key);
    if (!value.is_number() || !std::isfinite(value.get<float>())) reject(key, "a finite number");
    return value.get<float>();
  }

  std::string text(const char* key) const {
    const auto& value = at(key);
    if (!value.is_string()) reject(key, "text");
    return value.get<std::string>();
  }

  // Keys that some checkpoints leave out because there is one value that they can have.
  void require_text_if_present(const char* key, const std::string& allowed) const {
    if (!json_.contains(key)) return;
    const std::string value = text(key);
    require(value == allowed, "'{}' in {} is '{}', but only '{}' is supported", key, path_, value,
            allowed);
  }

  // FP8 checkpoints say how large the blocks are that share one scale.
  void require_supported_quantization() const {
    const auto found = json_.find("quantization_config");
    if (found == json_.end() || found->is_null()) return;
    const auto size = found->find("weight_block_size");
    require(found->is_object() && size != found->end() && *size == nlohmann::json({128, 128}),
            "'quantization_config' in {} must have 'weight_block_size' [128, 128], the only block "
            "that is supported",
            path_);
  }

  const std::string& path() const { return path_; }

 private:
  const nlohmann::json& at(const char* key) const {
    const auto found = json_.find(key);
    if (found == json_.end()) fail(ErrorCode::kFormat, "{} has no key '{}'", path_, key);
    return *found;
  }

  [[noreturn]] void reject(const char* key, const std::string& allowed) const {
    fail(ErrorCode::kFormat, "'{}' in {} is {}, but must be {}", key, path_,
         at(key).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace), allowed);
  }

  int integer(const char* key, int lowest) const {
    // Far above any model, and low enough that products of two stay far from overflow.
    constexpr int kHighest = 1 << 24;
    const auto& value = at(key);
    const bool fits = value.is_number_integer() && value.get<std::int64_t>() >= lowest &&
                      value.get<std::int64_t>() <= kHighest;
    if (!fits) reject(key, fmt::format("a whole number from {} to {}", lowest, kHighest));
    return value.get<int>();
  }

  std::string path_;
  nlohmann::json json_;
};

LayerConfig read_qwen3_moe(const Config& config) {
  LayerConfig layer;
  layer.family = Family::kQwen3Moe;
  layer.router.num_experts = config.positive("num_experts");
  layer.router.score = ScoreRule::kSoftmax;
  return layer;
}

LayerConfig read_deepseek_v3(const Config& config) {
  config.require_text_if_present("topk_method", "noaux_tc");
  config.require_text_if_present("scoring_func", "sigmoid");
  LayerConfig layer;
  layer.family = Family::kDeepseekV3;
  layer.num_shared = config.zero_or_more("n_shared_experts");
  layer.router.num_experts = config.positive("n_routed_experts");
  layer.router.score = ScoreRule::kSigmoid;
  layer.router.num_groups = config.positive("n_group");
  layer.router.kept_groups = config.positive("topk_group");
  layer.router.scaling_factor = config.number("routed_scaling_factor");
  return layer;
}

}  // namespace

const char* to_string(Family family) noexcept {
  switch (family) {
    case Family::kQwen3Moe: return "qwen3_moe";
    case Family::kDeepseekV3: return "deepseek_v3";
  }
  return "unknown";
}

LayerConfig read_layer_config(const std::filesystem::path& directory) {
  const Config config(directory / "config.json");
  const std::string type = config.text("model_type");
  require(type == to_string(Family::kQwen3Moe) || type == to_string(Family::kDeepseekV3),
          "'model_type' in {} is '{}', but must be 'qwen3_moe' or 'deepseek_v3'", config.path(),
          type);
  config.require_text_if_present("hidden_act", "silu");
  config.require_supported_quantization();
  LayerConfig layer =
      type == to_string(Family::kQwen3Moe) ? read_qwen3_moe(config) : read_deepseek_v3(config);
  layer.hidden = config.positive("hidden_size");
  layer.expert_width = config.positive("moe_intermediate_size");
  layer.shared_width = layer.expert_width * layer.num_shared;
  layer.router.top_k = config.positive("num_experts_per_tok");
  layer.router.normalize = config.boolean("norm_topk_prob");
  validate(layer.router);
  return layer;
}

}  // namespace braid::model
