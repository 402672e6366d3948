// Profiles: what is built in, and files that are not as they must be.
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "braid/error.hpp"
#include "braid/profile.hpp"
#include "predict/builtins.hpp"
#include "support/temp_dir.hpp"

namespace braid::test {
namespace {

using Json = nlohmann::json;

Json builtin(const std::string& name) {
  for (const auto& each : predict::builtins()) {
    if (name == each.name) return Json::parse(each.text);
  }
  ADD_FAILURE() << name;
  return {};
}

std::string sentence_of(const Json& json, ErrorCode code) {
  const TempDir folder;
  const std::string path = (folder.path() / "mine.json").string();
  std::ofstream(path) << json;
  try {
    load_hardware_profile(path);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), code) << error.what();
    return error.what();
  }
  return "accepted";
}

void says(const std::string& sentence, const std::vector<std::string>& parts) {
  for (const std::string& part : parts) {
    EXPECT_NE(sentence.find(part), std::string::npos) << sentence << "\n  has no " << part;
  }
}

TEST(Profiles, TheBuiltInOnesLoadUnderTheirNames) {
  EXPECT_EQ(hardware_profile_names(), (std::vector<std::string>{"h100", "h20", "h200", "h800"}));
  EXPECT_EQ(protocol_profile_names(), (std::vector<std::string>{"braid", "deepep_v1"}));
  EXPECT_EQ(model_shape_names(), (std::vector<std::string>{"deepseek-v3", "qwen3-235b"}));
  for (const auto& name : hardware_profile_names()) {
    EXPECT_EQ(load_hardware_profile(name).name, name);
  }
  for (const auto& name : protocol_profile_names()) {
    EXPECT_EQ(load_protocol_profile(name).name, name);
  }
  for (const auto& name : model_shape_names()) EXPECT_EQ(load_model_shape(name).name, name);
  EXPECT_EQ(load_hardware_profile("h20").sms, 78);
  EXPECT_EQ(load_model_shape("qwen3-235b").shared_width, 0);
}

TEST(Profiles, AnUnknownNameListsWhatThereIs) {
  try {
    load_hardware_profile("b200");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
    EXPECT_STREQ(error.what(),
                 "profile is 'b200', but must be h100, h20, h200, h800 or a .json file");
  }
}

TEST(Profiles, AFileIsReadLikeABuiltInOne) {
  EXPECT_EQ(sentence_of(builtin("h20"), ErrorCode::kFormat), "accepted");
  try {
    load_hardware_profile("/nowhere/mine.json");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kMissing);
  }
}

TEST(Profiles, EveryFieldMustBeThereAndSane) {
  const auto with = [](const char* field, const Json& value) {
    Json json = builtin("h20");
    json["numbers"][field]["value"] = value;
    return sentence_of(json, ErrorCode::kFormat);
  };
  const Json whole = builtin("h20");
  ASSERT_EQ(whole["numbers"].size(), 13U);
  for (const auto& [field, unused] : whole["numbers"].items()) {
    Json json = builtin("h20");
    json["numbers"].erase(field);
    says(sentence_of(json, ErrorCode::kFormat), {"no number", field});
    says(with(field.c_str(), -1), {field, "-1"});
    says(with(field.c_str(), "fast"), {field, "fast"});
  }
  says(with("memory_gbps", 0), {"memory_gbps", "0", "above 0"});
  says(with("gemm_efficiency", 1.5), {"gemm_efficiency", "1.5", "at most 1"});
  says(with("sms", 7.5), {"sms", "7.5", "whole"});
  says(with("copy_gbps", Json::array({{8, 100}, {4, 50}})), {"copy_gbps", "rising"});
}

TEST(Profiles, EveryNumberNeedsASource) {
  Json json = builtin("h20");
  json["numbers"]["sms"].erase("source");
  says(sentence_of(json, ErrorCode::kFormat), {"sms", "source"});
}

TEST(Profiles, AMisspelledFieldIsNotIgnored) {
  Json json = builtin("h20");
  json["numbers"]["memory_gpbs"] = {{"value", 1}, {"source", "x"}};
  says(sentence_of(json, ErrorCode::kFormat), {"memory_gpbs"});
}

TEST(RateCurve, IsStraightBetweenPointsAndFlatBehindTheLast) {
  const RateCurve curve{{{4, 200}, {8, 300}}};
  EXPECT_DOUBLE_EQ(curve.at(2), 100);
  EXPECT_DOUBLE_EQ(curve.at(4), 200);
  EXPECT_DOUBLE_EQ(curve.at(6), 250);
  EXPECT_DOUBLE_EQ(curve.at(100), 300);
}

}  // namespace
}  // namespace braid::test
