// What this binary was built from and with.
#pragma once

#include <string>

namespace braid::app {

struct BuildInfo {
  std::string version;
  std::string compiler;
  std::string type;        // CMake's build type
  std::string sanitizer;   // empty: none
  std::string git_commit;  // as it was when the build was configured; empty where unknown
};

BuildInfo build_info();

}  // namespace braid::app
