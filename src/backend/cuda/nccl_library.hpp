// libnccl, loaded at run time and never linked: a process without it can do everything else.
#pragma once

#include <string>

#include "backend/cuda/nccl_headers.hpp"

namespace braid::cuda {

struct NcclLibrary {
  std::string path;  // the file that the loader found
  int version = 0;   // as NCCL_VERSION_CODE

  decltype(&ncclGetErrorString) get_error_string = nullptr;
  decltype(&ncclGetLastError) get_last_error = nullptr;
  decltype(&ncclGetUniqueId) get_unique_id = nullptr;
  decltype(&ncclCommInitRank) comm_init_rank = nullptr;
  decltype(&ncclCommAbort) comm_abort = nullptr;
  decltype(&ncclMemAlloc) mem_alloc = nullptr;
  decltype(&ncclMemFree) mem_free = nullptr;
  decltype(&ncclCommWindowRegister) window_register = nullptr;
  decltype(&ncclCommWindowDeregister) window_deregister = nullptr;
  decltype(&ncclDevCommCreate) dev_comm_create = nullptr;
  decltype(&ncclDevCommDestroy) dev_comm_destroy = nullptr;

  // Throws kMissing with `what`, the call, and NCCL's own words where the result is an error.
  void check(ncclResult_t result, const std::string& what) const;
};

// path: libnccl's file, and no other is tried. Empty: the one that the process has loaded already
// (PyTorch's, say), else libnccl.so.2 as the loader finds it. Sets NCCL_NVLS_ENABLE=0. Throws
// kMissing where it is not there, or where its version does not fit the headers that Braid was
// compiled with: the same major and minor version, and a patch that is not older. (What a device
// communicator and its requirements look like changed between 2.28 and 2.29 without another name.)
// What is loaded stays: NCCL has threads.
NcclLibrary load_nccl(const std::string& path);

// load_nccl() of BRAID_NCCL_LIBRARY, once. A failure is not remembered.
const NcclLibrary& nccl_library();

}  // namespace braid::cuda
