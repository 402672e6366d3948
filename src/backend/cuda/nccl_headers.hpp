// NCCL's headers, the same ones in host and in device code: a window's struct differs from version
// to version.
#pragma once

#include <nccl.h>
#include <nccl_device.h>

#ifdef BRAID_NCCL_VERSION
static_assert(NCCL_VERSION_CODE == BRAID_NCCL_VERSION,
              "these are not the NCCL headers of BRAID_NCCL_INCLUDE");
#endif
