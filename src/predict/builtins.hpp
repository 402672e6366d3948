// The files of profiles/, as they were when this was built.
#pragma once

#include <vector>

namespace braid::predict {

struct Builtin {
  const char* kind;  // hardware, protocol, shape
  const char* name;
  const char* text;
};
const std::vector<Builtin>& builtins();

}  // namespace braid::predict
