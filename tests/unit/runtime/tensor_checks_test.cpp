#include "runtime/tensor_checks.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "braid/error.hpp"

namespace braid::runtime {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

// No memory is touched: only the address counts.
Tensor rows_at(std::uintptr_t address) {
  return {reinterpret_cast<void*>(address), DType::kBFloat16, {4, 128}};
}

TEST(Aligned, RowsOnCudaAreAtMultiplesOfSixteenBytes) {
  const Tensor aligned = rows_at(4096), also = rows_at(4096 + 16), none;
  EXPECT_NO_THROW(
      check_aligned(Backend::kCuda, {{"x", &aligned}, {"bias", &also}, {"output x", &none}}));
  for (const std::uintptr_t off : {1U, 2U, 8U, 15U}) {
    const Tensor unaligned = rows_at(4096 + off);
    try {
      check_aligned(Backend::kCuda, {{"x", &aligned}, {"bias", &unaligned}});
      ADD_FAILURE() << "not refused: " << off;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
      EXPECT_THAT(error.what(), AllOf(HasSubstr("bias is at 0x10"), HasSubstr("backend cuda"),
                                      HasSubstr("a multiple of 16 bytes")));
    }
    EXPECT_NO_THROW(check_aligned(Backend::kCpu, {{"x", &unaligned}}));
  }
}

}  // namespace
}  // namespace braid::runtime
