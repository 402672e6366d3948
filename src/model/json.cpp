#include "model/json.hpp"

#include <fstream>
#include <iterator>
#include <set>
#include <vector>

#include "base/check.hpp"

namespace braid::model {

nlohmann::json parse_json_object(std::string_view text, const std::string& what) {
  using Event = nlohmann::json::parse_event_t;
  // The parser keeps the last of two equal keys and says nothing; a tensor named twice would then
  // silently be either of them.
  std::vector<std::set<std::string>> open_objects;
  const auto watch_keys = [&](int, Event event, nlohmann::json& parsed) {
    if (event == Event::object_start) open_objects.emplace_back();
    if (event == Event::object_end) open_objects.pop_back();
    if (event == Event::key) {
      const auto& key = parsed.get_ref<const std::string&>();
      if (!open_objects.back().insert(key).second) {
        fail(ErrorCode::kFormat, "{} has the key '{}' twice", what, key);
      }
    }
    return true;
  };
  nlohmann::json json;
  try {
    json = nlohmann::json::parse(text.begin(), text.end(), watch_keys);
  } catch (const nlohmann::json::exception& error) {
    fail(ErrorCode::kFormat, "{} is not valid JSON ({})", what, error.what());
  }
  if (!json.is_object()) fail(ErrorCode::kFormat, "{} is not a JSON object", what);
  return json;
}

nlohmann::json read_json_object(const std::filesystem::path& path) {
  std::ifstream stream(path, std::ios::binary);
  std::string text;
  if (stream) text.assign(std::istreambuf_iterator<char>(stream), {});
  if (!stream || std::filesystem::is_directory(path)) {
    fail(ErrorCode::kMissing, "{} can't be read; a checkpoint directory has this file",
         path.string());
  }
  return parse_json_object(text, path.string());
}

}  // namespace braid::model
