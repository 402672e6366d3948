// One MoE layer of a Hugging Face checkpoint directory, as views of the mapped files.
//
// Expert weights stay as they are stored (BF16, or FP8 e4m3 with a float32 scale per 128x128
// block), so that a layer costs memory only for what is in use. Router weights are small and used
// for every token: they are read into float32.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <vector>

#include "base/weight_view.hpp"
#include "model/layer_config.hpp"
#include "model/safetensors.hpp"

namespace braid::model {

struct MoeLayer {
  LayerConfig config;
  int index = 0;                        // N in the tensor names model.layers.N.mlp.*
  std::vector<ExpertWeights> experts;   // config.num_experts() of them
  std::optional<ExpertWeights> shared;  // every token passes through it too
  std::vector<float> gate;              // the router's matrix, [num_experts, hidden]
  std::vector<float> correction_bias;   // [num_experts], or empty: added to scores to choose by

  // Keeps what the views point into: the mapped files. Copies of a layer share it.
  std::shared_ptr<const void> storage;
};

// The indices of the checkpoint's MoE layers, in ascending order.
std::vector<int> moe_layers(const Checkpoint& checkpoint);

// Loads layer `index`, or the first MoE layer that the checkpoint has. Throws as Checkpoint and
// read_layer_config do, and kFormat for a tensor that is missing or has another dtype or shape than
// config.json asks for.
MoeLayer load_layer(const std::filesystem::path& directory, std::optional<int> index = {});

}  // namespace braid::model
