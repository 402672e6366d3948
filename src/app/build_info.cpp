#include "app/build_info.hpp"

namespace braid::app {

BuildInfo build_info() {
  return {BRAID_BUILD_VERSION, BRAID_BUILD_COMPILER, BRAID_BUILD_TYPE, BRAID_BUILD_SANITIZER,
          BRAID_BUILD_COMMIT};
}

}  // namespace braid::app
