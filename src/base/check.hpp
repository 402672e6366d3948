// Throwing braid::Error with a formatted sentence.
#pragma once

#include <fmt/format.h>

#include <utility>

#include "braid/error.hpp"

namespace braid {

template <class... Args>
[[noreturn]] void fail(ErrorCode code, fmt::format_string<Args...> format, Args&&... args) {
  throw Error(code, fmt::format(format, std::forward<Args>(args)...));
}

// require(n > 0, "tokens is {}, but must be positive", n): bad input of a caller.
template <class... Args>
void require(bool condition, fmt::format_string<Args...> format, Args&&... args) {
  if (!condition) fail(ErrorCode::kInvalidArgument, format, std::forward<Args>(args)...);
}

}  // namespace braid

// A promise of Braid's own. The sentence names file and line; a caller can't cause it.
#define BRAID_CHECK(condition)                                                            \
  do {                                                                                    \
    if (!(condition))                                                                     \
      ::braid::fail(::braid::ErrorCode::kInternal, "{}:{}: broken promise: {}", __FILE__, \
                    __LINE__, #condition);                                                \
  } while (false)
