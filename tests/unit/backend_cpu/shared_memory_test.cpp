#include "backend/cpu/shared_memory.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>

#include "braid/error.hpp"

namespace braid::cpu {
namespace {

TEST(MappedBlock, IsZeroFilledAndPageAligned) {
  const auto block = MappedBlock::anonymous(10000);
  EXPECT_EQ(block->bytes(), 10000U);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(block->data()) % 4096, 0U);
  EXPECT_TRUE(std::all_of(block->data(), block->data() + block->bytes(),
                          [](std::byte b) { return b == std::byte{0}; }));
}

TEST(MappedBlock, TwoMappingsOfOneDescriptorAreTheSameMemory) {
  const int descriptor = create_shared_memory(8192);
  const auto one = MappedBlock::shared(descriptor, 8192);
  const auto two = MappedBlock::shared(descriptor, 8192);
  close(descriptor);
  EXPECT_NE(one->data(), two->data());
  one->data()[8191] = std::byte{7};
  EXPECT_EQ(two->data()[8191], std::byte{7});
  EXPECT_EQ(two->data()[0], std::byte{0});
}

TEST(MappedBlock, UntouchedPagesCostNothing) {
  // More than most machines have (ThreadSanitizer leaves room for this much): blocks are sized for
  // the worst case.
  constexpr std::size_t kBytes = std::size_t{1} << 36;
  const auto block = MappedBlock::anonymous(kBytes);
  block->data()[kBytes - 1] = std::byte{1};
}

TEST(MappedBlock, ShortOrShrinkingDescriptorIsRefused) {
  const int descriptor = create_shared_memory(4096);
  EXPECT_THROW(MappedBlock::shared(descriptor, 8192), Error);
  EXPECT_NE(ftruncate(descriptor, 0), 0) << "the size is sealed";
  close(descriptor);
  EXPECT_THROW(MappedBlock::anonymous(0), Error);
}

}  // namespace
}  // namespace braid::cpu
