// Single-batch overlap: what runs beside what.
#include <gtest/gtest.h>

#include "braid/overlap.hpp"
#include "unit/schedule/listing.hpp"

namespace braid::test {
namespace {

SingleBatchOptions options() {
  SingleBatchOptions options;
  options.parts = {.device_sms = 78, .shared_expert = true};
  return options;
}

TEST(SingleBatch, SharedExpertRunsBeforeTheReceiveAndCombineSendsBesideTheDownGemm) {
  EXPECT_EQ(listing(single_batch_overlap(options())),
            (Lines{"current gate 78", "current dispatch_send 78", "current shared_expert 78",
                   "current dispatch_receive 78", "current up_gemm 78", "current activation 78",
                   "current down_gemm 75", "comm combine_send 3", "comm combine_receive 78"}));
  EXPECT_EQ(waits(single_batch_overlap(options())),
            (Lines{"activation > combine_send", "down_gemm ~> combine_send",
                   "down_gemm > combine_receive"}));
  EXPECT_EQ(single_batch_overlap(options()).block_rows, 64);
}

TEST(SingleBatch, RefusesSumsAtTheExpertsRank) {
  auto wrong = options();
  wrong.parts.reduce = Reduce::kExpertRank;
  says(refusal([&] { single_batch_overlap(wrong); }),
       {"combine_send", "tiles of down_gemm", "token_rank"});
}

TEST(SingleBatch, RefusesBudgetsThatLeaveNothing) {
  auto wrong = options();
  wrong.comm_sms = 78;
  says(refusal([&] { single_batch_overlap(wrong); }), {"comm_sms", "78", "77"});
  wrong.comm_sms = 0;
  says(refusal([&] { single_batch_overlap(wrong); }), {"comm_sms", "0", "1"});
  wrong = options();
  wrong.block_rows = 0;
  says(refusal([&] { single_batch_overlap(wrong); }), {"block_rows", "0"});
}

}  // namespace
}  // namespace braid::test
