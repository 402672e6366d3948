// Lines of a table.
#pragma once

#include <fmt/format.h>

#include <iterator>
#include <string>

namespace braid::cli {

template <class... Args>
void line(std::string& text, fmt::format_string<Args...> format, Args&&... args) {
  fmt::format_to(std::back_inserter(text), format, std::forward<Args>(args)...);
  text += '\n';
}

}  // namespace braid::cli
