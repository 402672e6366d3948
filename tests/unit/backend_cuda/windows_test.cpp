// How ranks agree on trouble. No GPU is needed: every case fails before it would use one.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>
#include <vector>

#include "backend/cuda/nccl_windows.hpp"
#include "braid/error.hpp"
#include "braid/group.hpp"

namespace braid::cuda {
namespace {

using ::testing::HasSubstr;

struct Refusal {
  std::string sentence = "nothing was thrown";
  ErrorCode code = ErrorCode::kInternal;
};

// Every rank's refusal of its own bytes and device.
std::vector<Refusal> refusals(const std::vector<std::size_t>& bytes,
                              const std::vector<int>& devices) {
  const int num_ranks = static_cast<int>(bytes.size());
  std::vector<Group> groups = Group::threads({num_ranks, num_ranks}, {.timeout_ms = 20000});
  std::vector<Refusal> results(bytes.size());
  std::vector<std::jthread> threads;
  for (std::size_t rank = 0; rank < bytes.size(); ++rank) {
    threads.emplace_back([&, rank] {
      Group& group = groups[rank];
      try {
        allocate_windows({static_cast<int>(rank), num_ranks, devices[rank], bytes[rank],
                          [&](const std::string& mine) { return group.all_gather(mine); }});
      } catch (const Error& error) {
        results[rank] = {error.what(), error.code()};
      }
    });
  }
  threads.clear();
  return results;
}

#ifdef FAKE_NCCL_COMPLETE
TEST(Windows, SizesThatDifferAreRefusedOnEveryRank) {
  for (const Refusal& refusal : refusals({4096, 4096, 8192}, {0, 0, 0})) {
    EXPECT_EQ(refusal.code, ErrorCode::kInvalidArgument);
    EXPECT_THAT(refusal.sentence, HasSubstr("rank 2 allocates 8192 bytes"));
  }
}

TEST(Windows, OneRanksBadSizeIsEveryRanksError) {
  for (const Refusal& refusal : refusals({4096, 0}, {0, 0})) {
    EXPECT_EQ(refusal.code, ErrorCode::kInvalidArgument);
    EXPECT_THAT(refusal.sentence, HasSubstr("rank 1: bytes is 0"));
  }
}

// Without a GPU every rank fails, with one only those whose device is not there: either way all
// throw the first one's sentence, and none waits.
TEST(Windows, AMissingDeviceIsEveryRanksError) {
  const auto results = refusals({4096, 4096}, {1000, 1001});
  EXPECT_THAT(results[0].sentence, HasSubstr("rank 0: "));
  EXPECT_THAT(results[0].sentence, HasSubstr("CUDA device"));
  EXPECT_EQ(results[1].sentence, results[0].sentence);
  EXPECT_EQ(results[1].code, results[0].code);
}

TEST(Windows, ARankThatIsNotThereIsRefused) {
  EXPECT_THROW(allocate_windows({2, 2, 0, 4096, {}}), Error);
}
#else
TEST(Windows, WithoutTheHeadersWhatIsMissingIsNamed) {
  for (const Refusal& refusal : refusals({4096, 4096}, {0, 0})) {
    EXPECT_EQ(refusal.code, ErrorCode::kMissing);
    EXPECT_THAT(refusal.sentence, HasSubstr("BRAID_NCCL_INCLUDE"));
  }
}
#endif

}  // namespace
}  // namespace braid::cuda
