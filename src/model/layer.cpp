#include "model/layer.hpp"

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <string>
#include <string_view>

#include "base/check.hpp"
#include "base/math.hpp"
#include "codec/bfloat16.hpp"

namespace braid::model {
namespace {

constexpr std::int64_t kBlock = 128;  // rows and columns that share one scale of an FP8 weight

struct Storage {
  explicit Storage(const std::filesystem::path& directory) : checkpoint(directory) {}
  Checkpoint checkpoint;
  std::vector<std::vector<std::byte>> copies;  // of tensors that lie unaligned in their file
};

// Names a tensor's shape or type in messages: "BF16 or F8_E4M3 [64, 256]".
struct Expected {
  std::vector<std::string> dtypes;
  std::vector<std::int64_t> shape;

  bool holds(const TensorView& view) const {
    return view.shape == shape &&
           std::find(dtypes.begin(), dtypes.end(), view.stored_dtype) != dtypes.end();
  }
  std::string describe() const {
    return fmt::format("{} [{}]", fmt::join(dtypes, " or "), fmt::join(shape, ", "));
  }
};

class Loader {
 public:
  Loader(Storage& storage, const LayerConfig& config, int index)
      : storage_(storage), config_(config), prefix_(fmt::format("model.layers.{}.mlp.", index)) {}

  std::vector<ExpertWeights> experts() {
    std::vector<ExpertWeights> all;
    all.reserve(static_cast<std::size_t>(config_.num_experts()));
    for (int expert = 0; expert < config_.num_experts(); ++expert) {
      all.push_back(network(fmt::format("experts.{}.", expert), config_.expert_width));
    }
    return all;
  }

  ExpertWeights shared() { return network("shared_experts.", config_.shared_width); }

  std::vector<float> gate() {
    return to_floats(
        checked("gate.weight", {{"BF16", "F32"}, {config_.num_experts(), config_.hidden}}));
  }

  std::vector<float> correction_bias() {
    return to_floats(
        checked("gate.e_score_correction_bias", {{"F32", "BF16"}, {config_.num_experts()}}));
  }

 private:
  const TensorView& checked(const std::string& name, const Expected& expected) {
    const TensorView& view = storage_.checkpoint.at(prefix_ + name);
    if (!expected.holds(view)) {
      fail(ErrorCode::kFormat, "tensor '{}' in {} is {}, but must be {}", view.name, view.file,
           view.describe(), expected.describe());
    }
    return view;
  }

  ExpertWeights network(const std::string& name, std::int64_t width) {
    return {.gate = matrix(name + "gate_proj", width, config_.hidden),
            .up = matrix(name + "up_proj", width, config_.hidden),
            .down = matrix(name + "down_proj", config_.hidden, width)};
  }

  WeightView matrix(const std::string& name, std::int64_t rows, std::int64_t cols) {
    const TensorView& view = checked(name + ".weight", {{"BF16", "F8_E4M3"}, {rows, cols}});
    WeightView weight;
    weight.data = aligned(view);
    weight.dtype = *view.dtype;
    weight.rows = rows;
    weight.cols = cols;
    weight.block = kBlock;
    if (weight.dtype == DType::kFloat8E4M3) {
      const TensorView& scales = checked(
          name + ".weight_scale_inv", {{"F32"}, {ceil_div(rows, kBlock), ceil_div(cols, kBlock)}});
      weight.block_scales = reinterpret_cast<const float*>(aligned(scales));
    }
    return weight;
  }

  // Files align tensors by custom, not by rule.
  const std::byte* aligned(const TensorView& view) {
    const std::size_t alignment = element_bytes(*view.dtype);
    if (reinterpret_cast<std::uintptr_t>(view.data) % alignment == 0) return view.data;
    return storage_.copies.emplace_back(view.data, view.data + view.bytes).data();
  }

  std::vector<float> to_floats(const TensorView& view) {
    const std::byte* data = aligned(view);
    std::vector<float> values(static_cast<std::size_t>(view.num_elements()));
    if (view.dtype == DType::kFloat32) {
      std::memcpy(values.data(), data, view.bytes);
    } else {
      const auto* stored = reinterpret_cast<const std::uint16_t*>(data);
      std::transform(stored, stored + values.size(), values.begin(),
                     [](std::uint16_t bits) { return codec::bf16_to_float(bits); });
    }
    return values;
  }

  Storage& storage_;
  const LayerConfig& config_;
  std::string prefix_;
};

// N of "model.layers.N.mlp.experts.0.gate_proj.weight", which every MoE layer has.
std::optional<int> moe_layer_of(std::string_view name) {
  constexpr std::string_view kBefore = "model.layers.";
  constexpr std::string_view kAfter = ".mlp.experts.0.gate_proj.weight";
  if (name.size() <= kBefore.size() + kAfter.size() || !name.starts_with(kBefore) ||
      !name.ends_with(kAfter)) {
    return std::nullopt;
  }
  const char* begin = name.data() + kBefore.size();
  const char* end = name.data() + name.size() - kAfter.size();
  int index = 0;
  const auto [stopped, error] = std::from_chars(begin, end, index);
  if (error != std::errc() || stopped != end || index < 0) return std::nullopt;
  return index;
}

int choose_layer(const Checkpoint& checkpoint, std::optional<int> index) {
  const std::vector<int> layers = moe_layers(checkpoint);
  if (layers.empty()) {
    fail(ErrorCode::kFormat,
         "the checkpoint {} has no MoE layer: no tensor "
         "'model.layers.N.mlp.experts.0.gate_proj.weight' for any N",
         checkpoint.directory());
  }
  if (!index) return layers.front();
  require(std::find(layers.begin(), layers.end(), *index) != layers.end(),
          "layer index is {}, but the checkpoint {} has the MoE layers {}", *index,
          checkpoint.directory(), fmt::join(layers, ", "));
  return *index;
}

}  // namespace

std::vector<int> moe_layers(const Checkpoint& checkpoint) {
  std::vector<int> layers;
  for (const std::string& name : checkpoint.names()) {
    if (const std::optional<int> index = moe_layer_of(name)) layers.push_back(*index);
  }
  std::sort(layers.begin(), layers.end());
  return layers;
}

MoeLayer load_layer(const std::filesystem::path& directory, std::optional<int> index) {
  auto storage = std::make_shared<Storage>(directory);
  MoeLayer layer;
  layer.config = read_layer_config(directory);
  layer.index = choose_layer(storage->checkpoint, index);
  Loader loader(*storage, layer.config, layer.index);
  layer.gate = loader.gate();
  if (layer.config.family == Family::kDeepseekV3) layer.correction_bias = loader.correction_bias();
  layer.experts = loader.experts();
  if (layer.config.num_shared > 0) layer.shared = loader.shared();
  layer.storage = std::move(storage);
  return layer;
}

}  // namespace braid::model
