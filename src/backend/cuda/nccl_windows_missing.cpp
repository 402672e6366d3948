// In place of nccl_windows.cpp where Braid is compiled without NCCL's headers.
#include "backend/cuda/nccl_windows.hpp"
#include "base/check.hpp"

namespace braid::cuda {

WindowMemory allocate_windows(const WindowRequest&) {
  fail(ErrorCode::kMissing,
       "ranks that are processes with a GPU each need NCCL, but this Braid was compiled without "
       "NCCL's headers; configure it with -DBRAID_NCCL_INCLUDE=<the folder of nccl_device.h>, of "
       "NCCL 2.28 or later (in pip's nvidia-nccl-cu13, say)");
}

}  // namespace braid::cuda
