// What a group computes on, as far as a machine without a GPU can tell.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <vector>

#include "braid/error.hpp"
#include "braid/group.hpp"
#include "machine/device_backend.hpp"
#include "runtime/group_backend.hpp"

namespace braid {
namespace {

using ::testing::HasSubstr;

template <class F>
std::string sentence_of(F call, ErrorCode code) {
  try {
    call();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), code) << error.what();
    return error.what();
  }
  return "nothing was thrown";
}

TEST(Devices, BackendsHaveNames) {
  EXPECT_EQ(parse_backend("cpu"), Backend::kCpu);
  EXPECT_EQ(parse_backend("cuda"), Backend::kCuda);
  EXPECT_THAT(sentence_of([] { parse_backend("gpu"); }, ErrorCode::kInvalidArgument),
              HasSubstr("backend is 'gpu', but must be cpu or cuda"));
}

TEST(Devices, AGroupComputesOnTheCpuUnlessToldOtherwise) {
  const Group group = Group::threads({1, 1}).front();
  EXPECT_EQ(group.backend_kind(), Backend::kCpu);
  EXPECT_EQ(group.device(), 0);
  Stream stream = group.make_stream();
  int calls = 0;
  stream.run([&calls] { ++calls; });
  stream.synchronize();
  EXPECT_EQ(calls, 1);
}

TEST(Devices, MemoryOfTheCpuIsZeroedAlignedAndCopied) {
  const Group group = Group::threads({1, 1}).front();
  detail::DeviceBackend& device = group.backend().device();
  const std::shared_ptr<void> memory = device.allocate(1000);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(memory.get()) % 4096, 0U);
  std::vector<std::byte> seen(1000, std::byte{1});
  device.copy_out(seen.data(), memory.get(), seen.size());
  EXPECT_EQ(seen, std::vector<std::byte>(1000));
  device.fill(memory.get(), std::byte{7}, 999);
  const std::byte last{9};
  device.copy_in(static_cast<std::byte*>(memory.get()) + 999, &last, 1);
  device.copy_out(seen.data(), memory.get(), seen.size());
  EXPECT_EQ(seen[998], std::byte{7});
  EXPECT_EQ(seen[999], std::byte{9});
}

TEST(Devices, CudaDevicesOfACpuGroupAreRefused) {
  GroupOptions options;
  options.devices = {0, 0};
  EXPECT_THAT(sentence_of(
                  [&] {
                    Group::threads({2, 2}, options);
                  },
                  ErrorCode::kInvalidArgument),
              HasSubstr("devices names 2 CUDA devices, but the backend is cpu"));
}

#if !defined(BRAID_TEST_WITH_CUDA)
TEST(Devices, ABuildWithoutCudaSaysHowToGetIt) {
  GroupOptions options;
  options.backend = Backend::kCuda;
  const auto missing = [](const auto& call) { return sentence_of(call, ErrorCode::kMissing); };
  EXPECT_THAT(missing([&] {
                Group::threads({2, 2}, options);
              }),
              HasSubstr("the backend cuda needs CUDA, which this build is without; cmake --preset "
                        "cuda"));
  EXPECT_THAT(missing([&] {
                Group::connect(0, {1, 1}, "127.0.0.1", 1, options);
              }),
              HasSubstr("cmake --preset cuda"));
  EXPECT_THAT(missing([] { Stream::cuda(0); }), HasSubstr("Stream::cuda needs CUDA"));
  EXPECT_THAT(missing([] { Stream::from_cuda(nullptr, 0); }),
              HasSubstr("Stream::from_cuda needs CUDA"));
}
#endif

}  // namespace
}  // namespace braid
