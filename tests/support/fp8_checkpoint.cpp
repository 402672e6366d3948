#include "support/fp8_checkpoint.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/math.hpp"
#include "codec/bfloat16.hpp"
#include "codec/e4m3.hpp"
#include "support/safetensors_writer.hpp"

namespace braid::test {
namespace {

constexpr std::int64_t kBlock = 128;

// Appends the e4m3 codes and the scales of one BF16 matrix.
void quantize(const StoredTensor& matrix, std::vector<StoredTensor>& out) {
  const std::int64_t rows = matrix.shape[0];
  const std::int64_t cols = matrix.shape[1];
  std::vector<std::uint16_t> bits(matrix.bytes.size() / 2);
  std::memcpy(bits.data(), matrix.bytes.data(), matrix.bytes.size());
  const auto value = [&](std::int64_t row, std::int64_t col) {
    return codec::bf16_to_float(bits[static_cast<std::size_t>(row * cols + col)]);
  };
  std::vector<std::uint8_t> codes(bits.size());
  std::vector<float> scales;
  for (std::int64_t top = 0; top < rows; top += kBlock) {
    for (std::int64_t left = 0; left < cols; left += kBlock) {
      const std::int64_t bottom = min_of(top + kBlock, rows);
      const std::int64_t right = min_of(left + kBlock, cols);
      float largest = 1e-30F;
      for (std::int64_t row = top; row < bottom; ++row) {
        for (std::int64_t col = left; col < right; ++col) {
          largest = std::max(largest, std::abs(value(row, col)));
        }
      }
      const float scale = largest / codec::kE4m3Max;
      scales.push_back(scale);
      for (std::int64_t row = top; row < bottom; ++row) {
        for (std::int64_t col = left; col < right; ++col) {
          codes[static_cast<std::size_t>(row * cols + col)] =
              codec::float_to_e4m3(value(row, col) / scale);
        }
      }
    }
  }
  out.push_back(make_tensor(matrix.name, "F8_E4M3", {rows, cols}, codes));
  out.push_back(make_tensor(matrix.name + "_scale_inv", "F32",
                            {ceil_div(rows, kBlock), ceil_div(cols, kBlock)}, scales));
}

bool is_expert_weight(const std::string& name) {
  return name.find("experts.") != std::string::npos && name.ends_with("_proj.weight");
}

}  // namespace

void write_fp8_copy(const std::filesystem::path& source, const std::filesystem::path& target) {
  std::filesystem::create_directories(target);
  std::vector<StoredTensor> tensors;
  for (StoredTensor& tensor : read_tensors(source)) {
    if (is_expert_weight(tensor.name)) {
      quantize(tensor, tensors);
    } else {
      tensors.push_back(std::move(tensor));
    }
  }
  write_safetensors(target / "model.safetensors", tensors);

  nlohmann::json config = nlohmann::json::parse(std::ifstream(source / "config.json"));
  config["quantization_config"] = {{"activation_scheme", "dynamic"},
                                   {"fmt", "e4m3"},
                                   {"quant_method", "fp8"},
                                   {"weight_block_size", {kBlock, kBlock}}};
  std::ofstream(target / "config.json") << config.dump(2) << '\n';
  if (std::filesystem::exists(source / "inputs.safetensors")) {
    std::filesystem::copy_file(source / "inputs.safetensors", target / "inputs.safetensors",
                               std::filesystem::copy_options::overwrite_existing);
  }
}

}  // namespace braid::test
