// What a layer directory may hold beside the checkpoint: hidden states to run the layer on, and
// the output that somebody else computed for them.
//
//   inputs.safetensors    hidden_states BF16 [tokens, hidden]
//   expected.safetensors  output F32 [tokens, hidden], and for debugging topk_idx I64 and
//                         topk_weights F32 [tokens, top_k]
#pragma once

#include <cstdint>
#include <filesystem>
#include <vector>

#include "model/layer_config.hpp"

namespace braid::model {

struct Samples {
  std::int64_t num_tokens = 0;
  std::vector<std::uint16_t> hidden_states;  // BF16 [num_tokens, hidden]
  std::vector<float> expected;               // [num_tokens, hidden]; empty if there is none
  std::vector<std::int64_t> topk_idx;        // [num_tokens, top_k]; empty if there are none
  std::vector<float> topk_weights;           // the same
};

bool has_samples(const std::filesystem::path& directory);

// Reads them. Throws kMissing if there is no inputs.safetensors, kFormat for a tensor that is
// missing or doesn't fit the layer.
Samples load_samples(const std::filesystem::path& directory, const LayerConfig& config);

}  // namespace braid::model
