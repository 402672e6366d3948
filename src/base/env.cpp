#include "base/env.hpp"

#include <charconv>
#include <cstdlib>
#include <cstring>

#include "base/check.hpp"

namespace braid {
namespace {

template <class T>
std::optional<T> whole_number(const char* name, T smallest) {
  const char* text = std::getenv(name);
  if (text == nullptr || *text == '\0') return std::nullopt;
  T value{};
  const char* end = text + std::strlen(text);
  const auto [stop, code] = std::from_chars(text, end, value);
  require(code == std::errc{} && stop == end && value >= smallest,
          "environment variable {} is '{}', but must be a whole number of at least {}", name, text,
          smallest);
  return value;
}

std::string text_or(const char* name, const std::string& otherwise) {
  const char* text = std::getenv(name);
  return text == nullptr || *text == '\0' ? otherwise : std::string(text);
}

}  // namespace

Environment read_environment() {
  Environment env;
  env.rank = whole_number<int>("RANK", 0);
  env.world_size = whole_number<int>("WORLD_SIZE", 1);
  env.local_rank = whole_number<int>("LOCAL_RANK", 0);
  env.local_world_size = whole_number<int>("LOCAL_WORLD_SIZE", 1);
  env.master_addr = text_or("MASTER_ADDR", env.master_addr);
  env.master_port = whole_number<int>("MASTER_PORT", 1);
  env.timeout_ms = whole_number<std::int64_t>("BRAID_TIMEOUT_MS", 1).value_or(env.timeout_ms);
  env.log_level = text_or("BRAID_LOG", env.log_level);
  env.nccl_library = text_or("BRAID_NCCL_LIBRARY", env.nccl_library);
  return env;
}

void set_environment_default(const char* name, const char* value) { setenv(name, value, 0); }

const Environment& environment() {
  static const Environment kEnvironment = read_environment();
  return kEnvironment;
}

}  // namespace braid
