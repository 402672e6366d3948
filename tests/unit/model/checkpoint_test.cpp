#include <fstream>

#include "model/safetensors.hpp"
#include "model_test.hpp"

namespace braid::model {
namespace {

using test::expect_error;
using test::make_tensor;
using test::TempDir;

constexpr const char* kIndex = "model.safetensors.index.json";

class CheckpointTest : public ::testing::Test {
 protected:
  void write_index(const std::string& text) { std::ofstream(folder_ / kIndex) << text; }
  void write_shard(const std::string& shard, const std::string& tensor, float value) {
    test::write_safetensors(folder_ / shard, {make_tensor<float>(tensor, "F32", {1}, {value})});
  }

  TempDir folder_;
};

TEST_F(CheckpointTest, FindsTensorsInTheirShards) {
  write_shard("one.safetensors", "a", 1);
  write_shard("two.safetensors", "b", 2);
  write_index(R"({"weight_map":{"a":"one.safetensors","b":"two.safetensors"}})");
  const Checkpoint checkpoint(folder_.path());
  EXPECT_EQ(checkpoint.names(), (std::vector<std::string>{"a", "b"}));
  EXPECT_TRUE(checkpoint.contains("b"));
  EXPECT_EQ(*reinterpret_cast<const float*>(checkpoint.at("b").data), 2.0F);
  EXPECT_EQ(*reinterpret_cast<const float*>(checkpoint.at("a").data), 1.0F);
}

TEST_F(CheckpointTest, NeedsOnlyTheShardsOfTheTensorsAskedFor) {
  write_shard("one.safetensors", "a", 1);
  write_index(R"({"weight_map":{"a":"one.safetensors","b":"two.safetensors"}})");
  const Checkpoint checkpoint(folder_.path());
  EXPECT_EQ(checkpoint.at("a").bytes, 4U);
  expect_error(ErrorCode::kMissing, {"two.safetensors", "'b'"}, [&] { checkpoint.at("b"); });
}

TEST_F(CheckpointTest, NamesATensorThatItsShardLacks) {
  write_shard("one.safetensors", "a", 1);
  write_index(R"({"weight_map":{"b":"one.safetensors"}})");
  const Checkpoint checkpoint(folder_.path());
  expect_error(ErrorCode::kFormat, {"one.safetensors", "'b'"}, [&] { checkpoint.at("b"); });
  expect_error(ErrorCode::kFormat, {"'c'"}, [&] { checkpoint.at("c"); });
}

TEST_F(CheckpointTest, AnIndexLeadsNowhereElse) {
  for (const char* shard : {"\"../one.safetensors\"", "\"/etc/passwd\"", "\"\"", "3"}) {
    write_index(std::string(R"({"weight_map":{"a":)") + shard + "}}");
    expect_error(ErrorCode::kFormat, {kIndex, "'a'"},
                 [&] { Checkpoint checkpoint(folder_.path()); });
  }
}

TEST_F(CheckpointTest, RejectsAnIndexWithoutAMap) {
  for (const char* text : {"", "[]", "{}", R"({"weight_map":[]})"}) {
    write_index(text);
    expect_error(ErrorCode::kFormat, {kIndex}, [&] { Checkpoint checkpoint(folder_.path()); });
  }
}

TEST_F(CheckpointTest, SaysWhatADirectoryLacks) {
  expect_error(ErrorCode::kMissing, {"model.safetensors"},
               [&] { Checkpoint checkpoint(folder_.path()); });
  expect_error(ErrorCode::kMissing, {"nowhere", "not a directory"},
               [&] { Checkpoint checkpoint(folder_ / "nowhere"); });
}

}  // namespace
}  // namespace braid::model
