#include "model/layer.hpp"

#include <algorithm>
#include <cstring>
#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>

#include "codec/bfloat16.hpp"
#include "codec/e4m3.hpp"
#include "model_test.hpp"
#include "support/fp8_checkpoint.hpp"

namespace braid::model {
namespace {

using test::expect_error;
using test::StoredTensor;
using test::TempDir;

using Tensors = std::vector<StoredTensor>;

// A copy of a layer of data/ with something changed.
class ChangedLayer : public ::testing::Test {
 protected:
  void copy(const std::filesystem::path& source) {
    source_ = source;
    tensors_ = test::read_tensors(source);
    config_ = nlohmann::json::parse(std::ifstream(source / "config.json"));
  }

  StoredTensor& tensor(const std::string& name) {
    const auto found = std::find_if(tensors_.begin(), tensors_.end(),
                                    [&](const StoredTensor& t) { return t.name == name; });
    if (found == tensors_.end()) throw std::runtime_error("no tensor " + name);
    return *found;
  }

  void remove(const std::string& name) {
    std::erase_if(tensors_, [&](const StoredTensor& t) { return t.name == name; });
  }

  MoeLayer load(std::optional<int> index = {}, int extra_spaces = 0) {
    test::write_safetensors(folder_ / "model.safetensors", tensors_, extra_spaces);
    std::ofstream(folder_ / "config.json") << config_.dump();
    return load_layer(folder_.path(), index);
  }

  void expect_refused(ErrorCode code, std::initializer_list<std::string> words) {
    expect_error(code, words, [&] { load(); });
  }

  TempDir folder_;
  std::filesystem::path source_;
  Tensors tensors_;
  nlohmann::json config_;
};

void expect_shape(const WeightView& weight, std::int64_t rows, std::int64_t cols) {
  EXPECT_EQ(weight.rows, rows);
  EXPECT_EQ(weight.cols, cols);
  EXPECT_FALSE(weight.empty());
}

TEST(Layer, ReadsQwen3Moe) {
  const MoeLayer layer = load_layer(test::qwen3_moe());
  EXPECT_EQ(layer.config.family, Family::kQwen3Moe);
  EXPECT_EQ(layer.index, 0);
  EXPECT_EQ(layer.config.hidden, 256);
  EXPECT_EQ(layer.config.expert_width, 64);
  EXPECT_EQ(layer.config.num_experts(), 32);
  EXPECT_EQ(layer.config.top_k(), 8);
  EXPECT_EQ(layer.config.router.score, ScoreRule::kSoftmax);
  EXPECT_TRUE(layer.config.router.normalize);
  EXPECT_FALSE(layer.shared.has_value());
  EXPECT_TRUE(layer.correction_bias.empty());
  ASSERT_EQ(layer.experts.size(), 32U);
  expect_shape(layer.experts[31].gate, 64, 256);
  expect_shape(layer.experts[31].up, 64, 256);
  expect_shape(layer.experts[31].down, 256, 64);
  EXPECT_EQ(layer.experts[31].down.dtype, DType::kBFloat16);
  EXPECT_EQ(layer.experts[31].down.block_scales, nullptr);
}

TEST(Layer, ReadsDeepseekV3) {
  const MoeLayer layer = load_layer(test::deepseek_v3());
  EXPECT_EQ(layer.config.family, Family::kDeepseekV3);
  EXPECT_EQ(layer.index, 3);
  EXPECT_EQ(layer.config.router.score, ScoreRule::kSigmoid);
  EXPECT_EQ(layer.config.router.num_groups, 8);
  EXPECT_EQ(layer.config.router.kept_groups, 4);
  EXPECT_EQ(layer.config.router.scaling_factor, 2.5F);
  EXPECT_EQ(layer.config.num_shared, 1);
  EXPECT_EQ(layer.correction_bias.size(), 32U);
  ASSERT_TRUE(layer.shared.has_value());
  expect_shape(layer.shared->gate, 64, 256);
  expect_shape(layer.shared->down, 256, 64);
}

TEST(Layer, ViewsAreTheBytesOfTheFile) {
  const Checkpoint checkpoint(test::qwen3_moe());
  const MoeLayer layer = load_layer(test::qwen3_moe());
  for (const auto& [name, weight] :
       {std::pair{"model.layers.0.mlp.experts.7.gate_proj.weight", layer.experts[7].gate},
        std::pair{"model.layers.0.mlp.experts.7.up_proj.weight", layer.experts[7].up},
        std::pair{"model.layers.0.mlp.experts.10.down_proj.weight", layer.experts[10].down}}) {
    const TensorView& view = checkpoint.at(name);
    EXPECT_EQ(std::memcmp(weight.data, view.data, view.bytes), 0) << name;
  }
}

TEST(Layer, LivesOnInItsCopies) {
  std::optional<MoeLayer> first = load_layer(test::qwen3_moe());
  const MoeLayer copy = *first;
  first.reset();
  const auto* bits = static_cast<const std::uint16_t*>(copy.experts[31].down.data);
  EXPECT_NE(bits[256 * 64 - 1], 0);
}

TEST_F(ChangedLayer, TakesTheFirstMoeLayerUnlessToldOtherwise) {
  copy(test::qwen3_moe());
  Tensors later = tensors_;
  for (StoredTensor& t : later) t.name.replace(0, 15, "model.layers.10.");
  for (StoredTensor& t : tensors_) t.name.replace(0, 15, "model.layers.9.");
  tensors_.insert(tensors_.end(), later.begin(), later.end());
  EXPECT_EQ(load().index, 9);
  EXPECT_EQ(load(10).index, 10);
  expect_error(ErrorCode::kInvalidArgument, {"8", "9, 10"}, [&] { load(8); });
}

TEST_F(ChangedLayer, NamesEveryTensorThatIsMissing) {
  const std::string prefix = "model.layers.3.mlp.";
  for (const std::string name :
       {"gate.weight", "gate.e_score_correction_bias", "experts.0.up_proj.weight",
        "experts.31.down_proj.weight", "shared_experts.gate_proj.weight",
        "shared_experts.up_proj.weight", "shared_experts.down_proj.weight"}) {
    copy(test::deepseek_v3());
    remove(prefix + name);
    expect_refused(ErrorCode::kFormat, {"'" + prefix + name + "'", "no tensor"});
  }
}

TEST_F(ChangedLayer, NamesTheTensorThatEveryMoeLayerHas) {
  copy(test::qwen3_moe());
  remove("model.layers.0.mlp.experts.0.gate_proj.weight");
  expect_refused(ErrorCode::kFormat, {"experts.0.gate_proj.weight", "no MoE layer"});
}

TEST_F(ChangedLayer, NamesATensorOfAnotherShapeAndWhatWasExpected) {
  copy(test::qwen3_moe());
  const std::string name = "model.layers.0.mlp.experts.5.down_proj.weight";
  tensor(name).shape = {64, 256};
  expect_refused(ErrorCode::kFormat, {name, "BF16 [64, 256]", "[256, 64]"});
  tensor(name).shape = {256 * 64};
  expect_refused(ErrorCode::kFormat, {name, "BF16 [16384]", "[256, 64]"});
}

TEST_F(ChangedLayer, NamesATensorOfAnotherTypeAndWhatWasExpected) {
  copy(test::qwen3_moe());
  const std::string name = "model.layers.0.mlp.experts.5.up_proj.weight";
  tensor(name).dtype = "F16";
  expect_refused(ErrorCode::kFormat, {name, "F16 [64, 256]", "BF16 or F8_E4M3 [64, 256]"});
  copy(test::qwen3_moe());
  tensor("model.layers.0.mlp.gate.weight").dtype = "F16";
  expect_refused(ErrorCode::kFormat, {"mlp.gate.weight", "F16", "BF16 or F32"});
}

TEST_F(ChangedLayer, ConfigMustFitTheTensors) {
  copy(test::qwen3_moe());
  config_["num_experts"] = 64;
  expect_refused(ErrorCode::kFormat, {"gate.weight", "[32, 256]", "[64, 256]"});
  config_["num_experts"] = 32;
  config_["moe_intermediate_size"] = 128;
  expect_refused(ErrorCode::kFormat, {"experts.0.gate_proj.weight", "[64, 256]", "[128, 256]"});
}

TEST_F(ChangedLayer, ConfigKeysAreNamedWhenTheyAreMissingOrWrong) {
  for (const char* key : {"model_type", "hidden_size", "moe_intermediate_size", "n_routed_experts",
                          "num_experts_per_tok", "n_shared_experts", "n_group", "topk_group",
                          "norm_topk_prob", "routed_scaling_factor"}) {
    copy(test::deepseek_v3());
    config_.erase(key);
    expect_refused(ErrorCode::kFormat, {key, "config.json"});
    for (const nlohmann::json& value : {nlohmann::json(nullptr), nlohmann::json::array()}) {
      config_[key] = value;
      expect_refused(ErrorCode::kFormat, {key, "config.json", value.dump()});
    }
  }
  for (const nlohmann::json& value :
       {nlohmann::json(0), nlohmann::json(-256), nlohmann::json(256.5),
        nlohmann::json(std::uint64_t{1} << 63), nlohmann::json(1 << 25)}) {
    copy(test::deepseek_v3());
    config_["hidden_size"] = value;
    expect_refused(ErrorCode::kFormat, {"hidden_size", value.dump()});
  }
}

TEST_F(ChangedLayer, ModelsThatItCantRunAreRefusedByName) {
  const std::vector<std::pair<const char*, nlohmann::json>> cases = {
      {"model_type", "mixtral"},
      {"hidden_act", "gelu"},
      {"scoring_func", "softmax"},
      {"topk_method", "greedy"},
      {"num_experts_per_tok", 33},
      {"n_group", 5},
      {"topk_group", 9},
      {"n_group", 32},
      {"quantization_config", {{"weight_block_size", {64, 64}}}}};
  for (const auto& [key, value] : cases) {
    SCOPED_TRACE(key);
    copy(test::deepseek_v3());
    config_[key] = value;
    EXPECT_THROW(
        {
          try {
            load();
          } catch (const Error& error) {
            EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument) << error.what();
            throw;
          }
        },
        Error);
  }
  config_["quantization_config"] = nullptr;
  config_["model_type"] = "deepseek_v2";
  expect_refused(ErrorCode::kInvalidArgument, {"model_type", "deepseek_v2", "qwen3_moe"});
}

TEST(Layer, SaysWhatADirectoryLacks) {
  const TempDir folder;
  expect_error(ErrorCode::kMissing, {folder.path().string()}, [&] { load_layer(folder.path()); });
  std::filesystem::copy(test::qwen3_moe() / "model.safetensors", folder / "model.safetensors");
  expect_error(ErrorCode::kMissing, {"config.json"}, [&] { load_layer(folder.path()); });
}

TEST_F(ChangedLayer, UnalignedTensorsReadTheSame) {
  copy(test::deepseek_v3());
  const MoeLayer straight = load();
  const MoeLayer shifted = load({}, 1);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(shifted.experts[0].up.data) % 2, 0U);
  EXPECT_EQ(straight.gate, shifted.gate);
  EXPECT_EQ(straight.correction_bias, shifted.correction_bias);
  const MoeLayer original = load_layer(test::deepseek_v3());
  EXPECT_EQ(std::memcmp(original.experts[9].up.data, shifted.experts[9].up.data, 64 * 256 * 2), 0);
}

TEST_F(ChangedLayer, CorrectionBiasMayBeBf16) {
  copy(test::deepseek_v3());
  StoredTensor& bias = tensor("model.layers.3.mlp.gate.e_score_correction_bias");
  std::vector<std::uint16_t> bits(32, codec::float_to_bf16(0.25F));
  bias = test::make_tensor(bias.name, "BF16", {32}, bits);
  EXPECT_EQ(load().correction_bias, std::vector<float>(32, 0.25F));
}

TEST_F(ChangedLayer, ReadsFp8WithPartialBlocks) {
  test::write_fp8_copy(test::deepseek_v3(), folder_.path());
  const MoeLayer layer = load_layer(folder_.path());
  const MoeLayer original = load_layer(test::deepseek_v3());
  const WeightView& gate = layer.experts[3].gate;
  EXPECT_EQ(gate.dtype, DType::kFloat8E4M3);
  EXPECT_EQ(gate.scale_rows(), 1);  // of 64 rows
  EXPECT_EQ(gate.scale_cols(), 2);
  EXPECT_EQ(layer.experts[3].down.scale_rows(), 2);
  EXPECT_EQ(layer.experts[3].down.scale_cols(), 1);
  EXPECT_EQ(layer.shared->up.dtype, DType::kFloat8E4M3);
  EXPECT_EQ(layer.gate, original.gate);
  const auto* codes = static_cast<const std::uint8_t*>(gate.data);
  const auto* bits = static_cast<const std::uint16_t*>(original.experts[3].gate.data);
  for (std::int64_t i = 0; i < 64 * 256; ++i) {
    const float scale = gate.block_scales[i % 256 / 128];
    const float value = codec::bf16_to_float(bits[i]);
    // Half a step of three mantissa bits, or of the smallest codes.
    const float allowed = std::max(std::abs(value) / 16, scale * 0x1p-10F) * 1.001F;
    ASSERT_NEAR(codec::e4m3_to_float(codes[i]) * scale, value, allowed) << i;
  }
}

TEST_F(ChangedLayer, NamesFp8ScalesThatAreMissingOrWrong) {
  const std::string name = "model.layers.3.mlp.experts.4.gate_proj.weight_scale_inv";
  TempDir fp8;
  test::write_fp8_copy(test::deepseek_v3(), fp8.path());
  copy(fp8.path());
  tensor(name).shape = {2, 1};
  expect_refused(ErrorCode::kFormat, {name, "F32 [2, 1]", "F32 [1, 2]"});
  remove(name);
  expect_refused(ErrorCode::kFormat, {name, "no tensor"});
}

}  // namespace
}  // namespace braid::model
