// Sequential and per-expert overlap, held against the published order and budgets.
#include <gtest/gtest.h>

#include "braid/overlap.hpp"
#include "unit/schedule/listing.hpp"

namespace braid::test {
namespace {

Schedule method(int method, int rounds = 3) {
  PerExpertOptions options;
  options.parts.device_sms = 78;
  options.method = method;
  options.rounds = rounds;
  options.send_sms = 12;
  options.receive_sms = 10;
  return per_expert_overlap(options);
}

TEST(Sequential, IsOneLaneWithTheWholeDevice) {
  const LayerParts parts{.device_sms = 78, .attention = true, .shared_expert = true};
  EXPECT_EQ(listing(sequential(parts)),
            (Lines{"current attention 78", "current gate 78", "current shared_expert 78",
                   "current dispatch_send 78", "current dispatch_receive 78", "current up_gemm 78",
                   "current activation 78", "current down_gemm 78", "current combine_send 78",
                   "current combine_receive 78"}));
}

TEST(PerExpert, Method1SendsAllRoundsFirst) {
  EXPECT_EQ(listing(method(1)), (Lines{"current gate 78",
                                       "current dispatch_send 0/3 78",
                                       "current dispatch_send 1/3 78",
                                       "current dispatch_send 2/3 78",
                                       "current dispatch_receive 0/3 78",
                                       "gemm up_gemm 0/3 66",
                                       "gemm activation 0/3 66",
                                       "gemm down_gemm 0/3 66",
                                       "current dispatch_receive 1/3 10",
                                       "gemm up_gemm 1/3 66",
                                       "gemm activation 1/3 66",
                                       "gemm down_gemm 1/3 66",
                                       "current dispatch_receive 2/3 10",
                                       "gemm up_gemm 2/3 66",
                                       "gemm activation 2/3 66",
                                       "gemm down_gemm 2/3 66",
                                       "current combine_send 0/3 12",
                                       "current combine_send 1/3 12",
                                       "current combine_send 2/3 78",
                                       "current combine_receive 78"}));
  EXPECT_EQ(waits(method(1, 2)),
            (Lines{"dispatch_receive 0/2 > up_gemm 0/2", "dispatch_receive 1/2 > up_gemm 1/2",
                   "down_gemm 0/2 > combine_send 0/2", "down_gemm 1/2 > combine_send 1/2"}));
}

TEST(PerExpert, Method2SendsAndReceivesRoundByRoundOnOneLane) {
  EXPECT_EQ(listing(method(2)), (Lines{"current gate 78",
                                       "current dispatch_send 0/3 78",
                                       "current dispatch_receive 0/3 78",
                                       "gemm up_gemm 0/3 66",
                                       "gemm activation 0/3 66",
                                       "gemm down_gemm 0/3 66",
                                       "current dispatch_send 1/3 12",
                                       "current dispatch_receive 1/3 10",
                                       "gemm up_gemm 1/3 66",
                                       "gemm activation 1/3 66",
                                       "gemm down_gemm 1/3 66",
                                       "current dispatch_send 2/3 12",
                                       "current dispatch_receive 2/3 10",
                                       "gemm up_gemm 2/3 66",
                                       "gemm activation 2/3 66",
                                       "gemm down_gemm 2/3 66",
                                       "current combine_send 0/3 12",
                                       "current combine_send 1/3 12",
                                       "current combine_send 2/3 78",
                                       "current combine_receive 78"}));
}

TEST(PerExpert, Method3ReceivesOnALaneOfItsOwn) {
  EXPECT_EQ(listing(method(3)), (Lines{"current gate 78",
                                       "current dispatch_send 0/3 78",
                                       "comm dispatch_receive 0/3 66",
                                       "gemm up_gemm 0/3 56",
                                       "gemm activation 0/3 56",
                                       "gemm down_gemm 0/3 56",
                                       "current dispatch_send 1/3 12",
                                       "comm dispatch_receive 1/3 10",
                                       "gemm up_gemm 1/3 66",
                                       "gemm activation 1/3 66",
                                       "gemm down_gemm 1/3 66",
                                       "current dispatch_send 2/3 12",
                                       "comm dispatch_receive 2/3 10",
                                       "gemm up_gemm 2/3 66",
                                       "gemm activation 2/3 66",
                                       "gemm down_gemm 2/3 66",
                                       "current combine_send 0/3 12",
                                       "current combine_send 1/3 12",
                                       "current combine_send 2/3 78",
                                       "current combine_receive 78"}));
  // The current lane waits for the receives before it sends home.
  EXPECT_EQ(waits(method(3, 2)),
            (Lines{"dispatch_send 0/2 > dispatch_receive 0/2", "dispatch_receive 0/2 > up_gemm 0/2",
                   "dispatch_send 1/2 > dispatch_receive 1/2", "dispatch_receive 1/2 > up_gemm 1/2",
                   "dispatch_receive 1/2 > combine_send 0/2", "down_gemm 0/2 > combine_send 0/2",
                   "down_gemm 1/2 > combine_send 1/2"}));
}

TEST(PerExpert, TheSharedExpertRunsWhileTheFirstTokensAreOnTheirWay) {
  const auto before = [](int method) {
    PerExpertOptions options;
    options.parts = {.device_sms = 78, .shared_expert = true};
    options.method = method;
    const Lines lines = listing(per_expert_overlap(options));
    for (std::size_t i = 0; i < lines.size(); ++i) {
      if (lines[i] == "current shared_expert 78") return lines[i - 1];
    }
    return std::string("nowhere");
  };
  EXPECT_EQ(before(1), "current dispatch_send 1/2 78");
  EXPECT_EQ(before(2), "current dispatch_send 0/2 78");
  EXPECT_EQ(before(3), "current gate 78");
  EXPECT_EQ(before(4), "current dispatch_send 78");
}

TEST(PerExpert, VariantBReceivesMethod3sFirstRoundOnHalfOfTheDevice) {
  PerExpertOptions options;
  options.parts.device_sms = 78;
  options.method = 3;
  options.budgets = PerExpertBudgets::kVariantB;
  EXPECT_EQ(listing(per_expert_overlap(options))[2], "comm dispatch_receive 0/2 39");
}

TEST(PerExpert, Method4DispatchesOnceAndItsCombineSendsWaitForTheirGemms) {
  EXPECT_EQ(listing(method(4)),
            (Lines{"current gate 78", "current dispatch_send 78", "current dispatch_receive 78",
                   "gemm up_gemm 0/3 78", "gemm activation 0/3 78", "gemm down_gemm 0/3 78",
                   "gemm up_gemm 1/3 66", "gemm activation 1/3 66", "gemm down_gemm 1/3 66",
                   "gemm up_gemm 2/3 66", "gemm activation 2/3 66", "gemm down_gemm 2/3 66",
                   "current combine_send 0/3 12", "current combine_send 1/3 12",
                   "current combine_send 2/3 78", "current combine_receive 78"}));
  EXPECT_EQ(waits(method(4, 2)),
            (Lines{"dispatch_receive > up_gemm 0/2", "dispatch_receive > up_gemm 1/2",
                   "down_gemm 0/2 > combine_send 0/2", "down_gemm 1/2 > combine_send 1/2"}));
}

TEST(PerExpert, RefusesWhatCantBe) {
  const auto with = [](auto change) {
    PerExpertOptions options;
    options.parts.device_sms = 78;
    change(options);
    return refusal([&] { per_expert_overlap(options); });
  };
  says(with([](auto& o) { o.method = 5; }), {"method", "5", "1, 2, 3 and 4"});
  says(with([](auto& o) { o.rounds = 1; }), {"rounds", "1", "2"});
  says(with([](auto& o) { o.send_sms = 79; }), {"send_sms", "79", "78"});
  says(with([](auto& o) { o.receive_sms = 0; }), {"receive_sms", "0", "1"});
  says(with([](auto& o) { o.send_sms = 78; }), {"no SM", "78"});
  says(with([](auto& o) { o.up_gemm_sms = 70; }),
       {"at once", "up_gemm", "70 SMs", "16 SMs", "86", "78"});
  says(with([](auto& o) { o.parts.device_sms = 0; }), {"0"});
}

}  // namespace
}  // namespace braid::test
