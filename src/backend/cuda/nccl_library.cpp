#include "backend/cuda/nccl_library.hpp"

#include <dlfcn.h>

#include <cstdlib>

#include "base/check.hpp"
#include "base/env.hpp"

namespace braid::cuda {
namespace {

constexpr const char* kFileName = "libnccl.so.2";

struct Version {
  int major;
  int minor;
  int patch;

  static Version of(int code) {
    // Up to 2.8 the major version was worth 1000.
    return code < 10000 ? Version{code / 1000, code % 1000 / 100, code % 100}
                        : Version{code / 10000, code % 10000 / 100, code % 100};
  }
  std::string text() const { return fmt::format("{}.{}.{}", major, minor, patch); }
};

std::string headers() { return Version::of(NCCL_VERSION_CODE).text(); }

void* open_file(const std::string& path) {
  // RTLD_LOCAL: another NCCL of this process, if there is one, keeps its own symbols.
  if (void* handle = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL)) return handle;
  const char* reason = dlerror();
  fail(ErrorCode::kMissing,
       "NCCL, which ranks that are processes with a GPU each need, can't be loaded from '{}' ({}); "
       "install NCCL {} (PyTorch brings it: pip install nvidia-nccl-cu13=={}) and set "
       "BRAID_NCCL_LIBRARY to the path of its {}",
       path, reason == nullptr ? "no reason given" : reason, headers(), headers(), kFileName);
}

void* open_library(const std::string& path) {
  if (!path.empty()) return open_file(path);
  // Two NCCLs in one process would each take memory and threads of their own.
  if (dlsym(RTLD_DEFAULT, "ncclGetVersion") != nullptr) return RTLD_DEFAULT;
  if (void* handle = dlopen(kFileName, RTLD_NOW | RTLD_NOLOAD)) return handle;
  return open_file(kFileName);
}

template <class Function>
Function find(void* handle, const char* name) {
  return reinterpret_cast<Function>(dlsym(handle, name));
}

std::string file_of(const void* function, const std::string& otherwise) {
  Dl_info info{};
  return dladdr(function, &info) != 0 && info.dli_fname != nullptr ? info.dli_fname : otherwise;
}

void require_version(const NcclLibrary& library) {
  const Version found = Version::of(library.version);
  const Version built = Version::of(NCCL_VERSION_CODE);
  if (found.major == built.major && found.minor == built.minor && found.patch >= built.patch)
    return;
  fail(
      ErrorCode::kMissing,
      "'{}' is NCCL {}, but Braid was compiled with the headers of NCCL {} and needs {}.{}.{} or a "
      "later {}.{}, since other versions' structs differ; install that one (pip install "
      "nvidia-nccl-cu13=={}) and set BRAID_NCCL_LIBRARY to its {}, or compile Braid with "
      "-DBRAID_NCCL_INCLUDE=<the folder of the other version's nccl_device.h>, 2.28 or later",
      library.path, found.text(), built.text(), built.major, built.minor, built.patch, built.major,
      built.minor, built.text(), kFileName);
}

template <class Function>
void resolve(const NcclLibrary& library, void* handle, Function& function, const char* name) {
  function = find<Function>(handle, name);
  if (function != nullptr) return;
  fail(ErrorCode::kMissing,
       "'{}' has no {}, which NCCL {} should have; install it anew (pip install "
       "nvidia-nccl-cu13=={}) or set BRAID_NCCL_LIBRARY to another {}",
       library.path, name, Version::of(library.version).text(), headers(), kFileName);
}

int version_of(void* handle, NcclLibrary& library, const std::string& path) {
  const auto get_version = find<decltype(&ncclGetVersion)>(handle, "ncclGetVersion");
  library.path = path;
  int version = 0;
  if (get_version == nullptr || get_version(&version) != ncclSuccess)
    fail(ErrorCode::kMissing,
         "'{}' is no NCCL: it does not say its version; set BRAID_NCCL_LIBRARY to the path of the "
         "{} of NCCL {}",
         path, kFileName, headers());
  library.path = file_of(reinterpret_cast<const void*>(get_version), path);
  return version;
}

}  // namespace

void NcclLibrary::check(ncclResult_t result, const std::string& what) const {
  if (result == ncclSuccess) return;
  const char* last = get_last_error(nullptr);
  fail(ErrorCode::kMissing, "{} failed in NCCL {}: {} ({})", what, Version::of(version).text(),
       get_error_string(result),
       last == nullptr || *last == '\0' ? "NCCL_DEBUG=WARN makes NCCL say more" : last);
}

NcclLibrary load_nccl(const std::string& path) {
  // Multicast objects take hardware that all processes of a host share, and nothing here uses one.
  // NCCL reads this at its first communicator: one that the process made earlier has its own say.
  setenv("NCCL_NVLS_ENABLE", "0", 1);
  void* handle = open_library(path);
  NcclLibrary library;
  library.version = version_of(handle, library, path.empty() ? kFileName : path);
  require_version(library);
  const auto take = [&](auto& function, const char* name) {
    resolve(library, handle, function, name);
  };
  take(library.get_error_string, "ncclGetErrorString");
  take(library.get_last_error, "ncclGetLastError");
  take(library.get_unique_id, "ncclGetUniqueId");
  take(library.comm_init_rank, "ncclCommInitRank");
  take(library.comm_abort, "ncclCommAbort");
  take(library.mem_alloc, "ncclMemAlloc");
  take(library.mem_free, "ncclMemFree");
  take(library.window_register, "ncclCommWindowRegister");
  take(library.window_deregister, "ncclCommWindowDeregister");
  take(library.dev_comm_create, "ncclDevCommCreate");
  take(library.dev_comm_destroy, "ncclDevCommDestroy");
  return library;
}

const NcclLibrary& nccl_library() {
  static const NcclLibrary kLibrary = load_nccl(environment().nccl_library);
  return kLibrary;
}

}  // namespace braid::cuda
