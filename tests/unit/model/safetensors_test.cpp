#include "model/safetensors.hpp"

#include <fstream>
#include <iterator>
#include <random>

#include "model_test.hpp"

namespace braid::model {
namespace {

using test::expect_error;
using test::make_tensor;
using test::TempDir;

std::string read_bytes(const std::filesystem::path& path) {
  std::ifstream stream(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(stream), {}};
}

void write_bytes(const std::filesystem::path& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
}

class SafetensorsTest : public ::testing::Test {
 protected:
  // Every rejection names the file, here by its last part.
  void expect_rejected(const std::string& header, std::size_t data_bytes,
                       std::initializer_list<std::string> words) {
    SCOPED_TRACE(header);
    test::write_raw(path_, header, data_bytes);
    expect_error(ErrorCode::kFormat, words, [&] { SafetensorsFile file(path_); });
    expect_error(ErrorCode::kFormat, {"f.safetensors"}, [&] { SafetensorsFile file(path_); });
  }

  void write_small_file() {
    test::write_safetensors(path_, {make_tensor<float>("a", "F32", {2, 3}, {1, 2, 3, 4, 5, 6}),
                                    make_tensor<std::uint16_t>("b", "BF16", {2}, {0x3f80, 0x4000}),
                                    make_tensor<std::int64_t>("c", "I64", {}, {-7})});
  }

  TempDir folder_;
  std::filesystem::path path_ = folder_ / "f.safetensors";
};

TEST_F(SafetensorsTest, GivesTypeShapeAndBytesOfEveryTensor) {
  write_small_file();
  const SafetensorsFile file(path_);
  ASSERT_EQ(file.tensors().size(), 3U);
  const TensorView& a = file.at("a");
  EXPECT_EQ(a.dtype, DType::kFloat32);
  EXPECT_EQ(a.shape, (std::vector<std::int64_t>{2, 3}));
  ASSERT_EQ(a.bytes, 24U);
  EXPECT_EQ(reinterpret_cast<const float*>(a.data)[5], 6.0F);
  EXPECT_EQ(file.at("b").dtype, DType::kBFloat16);
  EXPECT_EQ(reinterpret_cast<const std::uint16_t*>(file.at("b").data)[1], 0x4000);
  EXPECT_TRUE(file.at("c").shape.empty());
  EXPECT_EQ(file.at("c").num_elements(), 1);
  EXPECT_EQ(file.find("d"), nullptr);
}

TEST_F(SafetensorsTest, ReadsEveryTypeThatTheLibraryUses) {
  test::write_safetensors(path_, {make_tensor<std::uint8_t>("f8", "F8_E4M3", {1}, {1}),
                                  make_tensor<std::uint8_t>("u8", "U8", {1}, {1}),
                                  make_tensor<std::int32_t>("i32", "I32", {1}, {1})});
  const SafetensorsFile file(path_);
  EXPECT_EQ(file.at("f8").dtype, DType::kFloat8E4M3);
  EXPECT_EQ(file.at("u8").dtype, DType::kUint8);
  EXPECT_EQ(file.at("i32").dtype, DType::kInt32);
}

TEST_F(SafetensorsTest, AcceptsMetadataEmptyTensorsAndTypesItHasNoUseFor) {
  test::write_raw(path_,
                  R"({"__metadata__":{"format":"pt"},
                      "none":{"dtype":"F32","shape":[0,5],"data_offsets":[0,0]},
                      "half":{"dtype":"F16","shape":[2],"data_offsets":[0,4]},
                      "new":{"dtype":"F6_E3M2","shape":[8],"data_offsets":[4,10]}})",
                  10);
  const SafetensorsFile file(path_);
  EXPECT_EQ(file.tensors().size(), 3U);
  EXPECT_EQ(file.at("none").bytes, 0U);
  EXPECT_FALSE(file.at("half").dtype.has_value());
  EXPECT_EQ(file.at("half").describe(), "F16 [2]");
  EXPECT_FALSE(file.at("new").dtype.has_value());
}

TEST_F(SafetensorsTest, NamesAFileThatIsNotThere) {
  expect_error(ErrorCode::kMissing, {"f.safetensors"}, [&] { SafetensorsFile file(path_); });
}

TEST_F(SafetensorsTest, NamesATensorThatIsNotThere) {
  write_small_file();
  const SafetensorsFile file(path_);
  expect_error(ErrorCode::kFormat, {"f.safetensors", "'d'"}, [&] { file.at("d"); });
}

TEST_F(SafetensorsTest, RejectsADirectory) {
  expect_error(ErrorCode::kFormat, {}, [&] { SafetensorsFile file(folder_.path()); });
}

TEST_F(SafetensorsTest, RejectsAFileCutAtAnyByte) {
  write_small_file();
  const std::string whole = read_bytes(path_);
  for (std::size_t length = 0; length < whole.size(); ++length) {
    SCOPED_TRACE(length);
    write_bytes(path_, whole.substr(0, length));
    expect_error(ErrorCode::kFormat, {"f.safetensors"}, [&] { SafetensorsFile file(path_); });
  }
  write_bytes(path_, whole + "x");
  expect_error(ErrorCode::kFormat, {"f.safetensors"}, [&] { SafetensorsFile file(path_); });
}

TEST_F(SafetensorsTest, RejectsAHeaderLengthBeyondTheFile) {
  write_small_file();
  std::string bytes = read_bytes(path_);
  for (const std::string& length :
       {std::string("\xff\xff\xff\xff\xff\xff\xff\xff"), std::string("\0\0\0\0\0\0\0\x80", 8),
        std::string("\xff\xff\0\0\0\0\0\0", 8)}) {
    write_bytes(path_, length + bytes.substr(8));
    expect_error(ErrorCode::kFormat, {"header", "f.safetensors"},
                 [&] { SafetensorsFile file(path_); });
  }
}

TEST_F(SafetensorsTest, RejectsHeadersThatAreNotJsonObjects) {
  expect_rejected("", 0, {"JSON"});
  expect_rejected("{", 0, {"JSON"});
  expect_rejected("[1]", 0, {"JSON object"});
  expect_rejected("7", 0, {"JSON object"});
  expect_rejected("{} {}", 0, {"JSON"});
  expect_rejected("{\"\xff\":1}", 0, {"JSON"});
  expect_rejected(std::string(100000, '['), 0, {"JSON"});
}

TEST_F(SafetensorsTest, RejectsEntriesThatDescribeNoTensorAndNamesThem) {
  expect_rejected(R"({"w":3})", 0, {"'w'", "object"});
  expect_rejected(R"({"w":{"shape":[1],"data_offsets":[0,4]}})", 4, {"'w'", "dtype"});
  expect_rejected(R"({"w":{"dtype":5,"shape":[1],"data_offsets":[0,4]}})", 4, {"'w'", "dtype"});
  expect_rejected(R"({"w":{"dtype":"F32","data_offsets":[0,4]}})", 4, {"'w'", "shape"});
  expect_rejected(R"({"w":{"dtype":"F32","shape":1,"data_offsets":[0,4]}})", 4, {"'w'", "shape"});
  expect_rejected(R"({"w":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}})", 4,
                  {"'w'", "dimension"});
  expect_rejected(R"({"w":{"dtype":"F32","shape":[1.0],"data_offsets":[0,4]}})", 4,
                  {"'w'", "dimension"});
  expect_rejected(R"({"w":{"dtype":"F32","shape":[1]}})", 4, {"'w'", "data_offsets"});
  expect_rejected(R"({"w":{"dtype":"F32","shape":[1],"data_offsets":[0]}})", 4,
                  {"'w'", "data_offsets"});
  expect_rejected(R"({"w":{"dtype":"F32","shape":[1],"data_offsets":["0","4"]}})", 4,
                  {"'w'", "data offset"});
}

TEST_F(SafetensorsTest, RejectsOffsetsOutsideTheData) {
  expect_rejected(R"({"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", 4, {"'w'", "8"});
  expect_rejected(R"({"w":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}})", 4, {"'w'"});
  expect_rejected(R"({"w":{"dtype":"F32","shape":[1],"data_offsets":[18446744073709551612,0]}})", 4,
                  {"'w'"});
  expect_rejected(R"({"w":{"dtype":"F32","shape":[1],"data_offsets":[0,18446744073709551616]}})", 4,
                  {"'w'"});
}

TEST_F(SafetensorsTest, RejectsSizesThatDontMatchTypeAndShape) {
  expect_rejected(R"({"w":{"dtype":"BF16","shape":[3],"data_offsets":[0,4]}})", 4,
                  {"'w'", "BF16 [3]", "6 bytes"});
  // 2^32 * 2^32 wraps to 0, and 2^62 * 4 does with the element size.
  expect_rejected(R"({"w":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]}})",
                  0, {"'w'", "shape"});
  expect_rejected(R"({"w":{"dtype":"F32","shape":[4611686018427387904],"data_offsets":[0,0]}})", 0,
                  {"'w'", "shape"});
  expect_rejected(R"({"w":{"dtype":"F32","shape":[0,18446744073709551615],"data_offsets":[0,0]}})",
                  0, {"'w'", "shape"});
}

TEST_F(SafetensorsTest, RejectsOverlapsHolesAndSpareBytes) {
  expect_rejected(R"({"v":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},
                      "w":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}})",
                  12, {"'w'", "4", "8"});
  expect_rejected(R"({"v":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},
                      "w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})",
                  4, {"'w'"});
  expect_rejected(R"({"v":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},
                      "w":{"dtype":"F32","shape":[1],"data_offsets":[8,12]}})",
                  12, {"'w'", "8", "4"});
  expect_rejected(R"({"v":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", 6, {"6 bytes"});
}

TEST_F(SafetensorsTest, RejectsATensorThatIsNamedTwice) {
  expect_rejected(R"({"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},
                      "w":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})",
                  8, {"'w'", "twice"});
}

// A sanitizer sees a view that leaves the mapping; everywhere, nothing but an Error may come out.
TEST_F(SafetensorsTest, SurvivesHeadersWithRandomBytesChanged) {
  write_small_file();
  const std::string whole = read_bytes(path_);
  std::mt19937 random(5);
  int rejected = 0;
  for (int round = 0; round < 600; ++round) {
    std::string bytes = whole;
    for (int change = 0; change < 1 + round % 3; ++change) {
      bytes[random() % (bytes.size() - 44)] =
          static_cast<char>("0123456789,:[]{}\" \x80"[random() % 19]);
    }
    write_bytes(path_, bytes);
    try {
      const SafetensorsFile file(path_);
      unsigned sum = 0;
      for (const auto& [name, view] : file.tensors()) {
        for (std::size_t i = 0; i < view.bytes; ++i) sum += static_cast<unsigned>(view.data[i]);
      }
      EXPECT_GT(sum, 0U);
    } catch (const Error& error) {
      EXPECT_STREQ(to_string(error.code()), "format") << error.what();
      ++rejected;
    }
  }
  EXPECT_GT(rejected, 300);
}

}  // namespace
}  // namespace braid::model
