// The only repository-wide macros beside the check: code that compiles for host and device.
#pragma once

#if defined(__CUDACC__)
#define BRAID_HD __host__ __device__
#else
#define BRAID_HD
#endif
