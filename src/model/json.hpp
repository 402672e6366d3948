// Reading JSON that comes from outside: every problem is a sentence that names the file.
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace braid::model {

// Parses text, which must be one JSON object without repeated keys. Throws kFormat; `what` starts
// the sentence ("config.json in /models/x").
nlohmann::json parse_json_object(std::string_view text, const std::string& what);

// The whole file, parsed. Throws kMissing if it can't be read, kFormat if it isn't such an object.
nlohmann::json read_json_object(const std::filesystem::path& path);

}  // namespace braid::model
