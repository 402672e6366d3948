#include "backend/cuda/nccl_library.hpp"

#include <dlfcn.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>

#include "base/env.hpp"
#include "braid/error.hpp"

namespace braid::cuda {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

// The sentence of a library that must not be taken.
std::string refusal(const std::string& path) {
  try {
    load_nccl(path);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kMissing);
    return error.what();
  }
  ADD_FAILURE() << path << " was taken";
  return "";
}

std::string headers() {
  return std::to_string(NCCL_MAJOR) + "." + std::to_string(NCCL_MINOR) + "." +
         std::to_string(NCCL_PATCH);
}

TEST(NcclLibrary, TheEnvironmentNamesItsFile) {
  setenv("BRAID_NCCL_LIBRARY", "/some/libnccl.so.2", 1);
  EXPECT_EQ(read_environment().nccl_library, "/some/libnccl.so.2");
  unsetenv("BRAID_NCCL_LIBRARY");
  EXPECT_EQ(read_environment().nccl_library, "");
}

TEST(NcclLibrary, AMissingFileIsNamedWithWhatWouldBringIt) {
  EXPECT_THAT(refusal("/nowhere/libnccl.so.2"),
              AllOf(HasSubstr("'/nowhere/libnccl.so.2'"), HasSubstr("No such file"),
                    HasSubstr("pip install nvidia-nccl-cu13==" + headers()),
                    HasSubstr("BRAID_NCCL_LIBRARY")));
}

TEST(NcclLibrary, AFileThatIsNoNcclIsRefused) {
  EXPECT_THAT(refusal("libm.so.6"), AllOf(HasSubstr("'libm.so.6'"), HasSubstr("is no NCCL")));
}

TEST(NcclLibrary, AnotherMinorVersionIsRefusedAndBothAreNamed) {
  EXPECT_THAT(refusal(FAKE_NCCL_TOO_OLD),
              AllOf(HasSubstr(FAKE_NCCL_TOO_OLD), HasSubstr("is NCCL 2.27.0"),
                    HasSubstr("headers of NCCL " + headers()), HasSubstr("BRAID_NCCL_LIBRARY"),
                    HasSubstr("BRAID_NCCL_INCLUDE")));
  EXPECT_THAT(refusal(FAKE_NCCL_TOO_NEW),
              AllOf(HasSubstr("is NCCL 2.99.0"), HasSubstr("headers of NCCL " + headers())));
}

TEST(NcclLibrary, AnOlderPatchThanTheHeadersIsRefused) {
  EXPECT_THAT(refusal(FAKE_NCCL_OLDER_PATCH), HasSubstr("needs " + headers() + " or a later"));
}

TEST(NcclLibrary, AMissingFunctionIsNamed) {
  EXPECT_THAT(refusal(FAKE_NCCL_INCOMPLETE),
              AllOf(HasSubstr(FAKE_NCCL_INCOMPLETE), HasSubstr("has no ncclGetErrorString")));
}

TEST(NcclLibrary, TheHeadersVersionIsTakenAndMulticastIsOff) {
  setenv("NCCL_NVLS_ENABLE", "1", 1);
  const NcclLibrary library = load_nccl(FAKE_NCCL_COMPLETE);
  EXPECT_STREQ(std::getenv("NCCL_NVLS_ENABLE"), "0");
  EXPECT_EQ(library.version, NCCL_VERSION_CODE);
  EXPECT_EQ(library.path, FAKE_NCCL_COMPLETE);
  library.check(ncclSuccess, "ncclMemAlloc");
  try {
    library.check(ncclSystemError, "ncclMemAlloc of 4096 bytes");
    FAIL() << "an error of NCCL's was not thrown";
  } catch (const Error& error) {
    EXPECT_EQ(error.what(), "ncclMemAlloc of 4096 bytes failed in NCCL " + headers() +
                                ": a fake error (what happened)");
  }
}

TEST(NcclLibrary, WhatTheProcessHasLoadedIsTakenFirst) {
  void* loaded = dlopen(FAKE_NCCL_COMPLETE, RTLD_NOW | RTLD_GLOBAL);
  ASSERT_NE(loaded, nullptr);
  EXPECT_EQ(load_nccl("").path, FAKE_NCCL_COMPLETE);
  EXPECT_THAT(refusal(FAKE_NCCL_TOO_OLD), HasSubstr("is NCCL 2.27.0"));
}

}  // namespace
}  // namespace braid::cuda
