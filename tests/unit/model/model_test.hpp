// What the tests of this folder share.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <initializer_list>
#include <string>

#include "braid/error.hpp"
#include "support/safetensors_writer.hpp"
#include "support/temp_dir.hpp"

namespace braid::test {

inline std::filesystem::path data(const std::string& name) {
  return std::filesystem::path(BRAID_TEST_DATA) / name;
}
inline std::filesystem::path qwen3_moe() { return data("qwen3_moe_layer"); }
inline std::filesystem::path deepseek_v3() { return data("deepseek_v3_layer"); }

// The call throws an Error of this code whose sentence has all of these words.
template <class Call>
void expect_error(ErrorCode code, std::initializer_list<std::string> words, const Call& call) {
  try {
    call();
  } catch (const Error& error) {
    EXPECT_STREQ(to_string(error.code()), to_string(code)) << error.what();
    for (const std::string& word : words) {
      EXPECT_NE(std::string(error.what()).find(word), std::string::npos)
          << "'" << word << "' is not in: " << error.what();
    }
    return;
  }
  ADD_FAILURE() << "nothing was thrown";
}

}  // namespace braid::test
