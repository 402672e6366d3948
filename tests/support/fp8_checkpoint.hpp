// An FP8 copy of a BF16 checkpoint, as DeepSeek-V3 is published: the weights of routed and shared
// experts as F8_E4M3 with a float32 `weight_scale_inv` per 128x128 block, all else as it was.
#pragma once

#include <filesystem>

namespace braid::test {

// Writes model.safetensors and config.json to `target` and copies inputs.safetensors if there is
// one, but not the expected output: it belongs to the weights before rounding.
void write_fp8_copy(const std::filesystem::path& source, const std::filesystem::path& target);

}  // namespace braid::test
