#include "model/samples.hpp"

#include <cstring>
#include <string>

#include "base/check.hpp"
#include "model/safetensors.hpp"

namespace braid::model {
namespace {

std::filesystem::path inputs_path(const std::filesystem::path& directory) {
  return directory / "inputs.safetensors";
}

// A copy of tensor `name`, which must be [rows, cols] of T's type.
template <class T>
std::vector<T> read_matrix(const SafetensorsFile& file, const char* name, DType dtype,
                           std::vector<std::int64_t> shape) {
  const TensorView& view = file.at(name);
  if (view.dtype != dtype || view.shape != shape) {
    fail(ErrorCode::kFormat, "tensor '{}' in {} is {}, but must be {} [{}]", name, file.path(),
         view.describe(), to_string(dtype), fmt::join(shape, ", "));
  }
  std::vector<T> values(view.bytes / sizeof(T));
  if (view.bytes > 0) std::memcpy(values.data(), view.data, view.bytes);
  return values;
}

}  // namespace

bool has_samples(const std::filesystem::path& directory) {
  return std::filesystem::exists(inputs_path(directory));
}

Samples load_samples(const std::filesystem::path& directory, const LayerConfig& config) {
  const SafetensorsFile inputs(inputs_path(directory));
  const TensorView& view = inputs.at("hidden_states");
  Samples samples;
  samples.num_tokens = view.shape.empty() ? 0 : view.shape[0];
  samples.hidden_states = read_matrix<std::uint16_t>(inputs, "hidden_states", DType::kBFloat16,
                                                     {samples.num_tokens, config.hidden});

  const auto expected_path = directory / "expected.safetensors";
  if (!std::filesystem::exists(expected_path)) return samples;
  const SafetensorsFile expected(expected_path);
  samples.expected =
      read_matrix<float>(expected, "output", DType::kFloat32, {samples.num_tokens, config.hidden});
  if (expected.find("topk_idx") == nullptr) return samples;
  samples.topk_idx = read_matrix<std::int64_t>(expected, "topk_idx", DType::kInt64,
                                               {samples.num_tokens, config.top_k()});
  samples.topk_weights = read_matrix<float>(expected, "topk_weights", DType::kFloat32,
                                            {samples.num_tokens, config.top_k()});
  return samples;
}

}  // namespace braid::model
