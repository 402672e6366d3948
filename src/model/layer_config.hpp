// What config.json says about a checkpoint's MoE layers.
#pragma once

#include <cstdint>
#include <filesystem>

#include "model/router_config.hpp"

namespace braid::model {

enum class Family : std::uint8_t { kQwen3Moe, kDeepseekV3 };

// "qwen3_moe", "deepseek_v3": config.json's model_type.
const char* to_string(Family family) noexcept;

struct LayerConfig {
  Family family = Family::kQwen3Moe;
  std::int64_t hidden = 0;        // H
  std::int64_t expert_width = 0;  // channels between up and down of a routed expert
  std::int64_t shared_width = 0;  // the same of the shared expert; 0: none
  int num_shared = 0;             // shared experts, which are stored as one wide one
  RouterConfig router;            // holds num_experts and top_k

  int num_experts() const { return router.num_experts; }
  int top_k() const { return router.top_k; }
};

// Reads config.json of a checkpoint directory. Throws kMissing if there is none, kFormat if a key
// is missing or of another type, kInvalidArgument for a model that Braid doesn't know or can't run;
// the sentence names the key.
LayerConfig read_layer_config(const std::filesystem::path& directory);

}  // namespace braid::model
