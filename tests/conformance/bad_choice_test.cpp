// A role that meets a top-k value which names no expert, where no host has looked before: it counts
// as -1, everyone's operation ends well, and the worker that owns the token reports it once.
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <tuple>
#include <vector>

#include "backend/cpu/machine.hpp"
#include "layout/scratch.hpp"
#include "machine/bad_choice.hpp"
#include "protocol/dispatch.hpp"
#include "protocol/dispatch_receive.hpp"

namespace braid::conformance {
namespace {

constexpr int kRanks = 2, kExperts = 8, kTokens = 5, kHidden = 128, kTopK = 3, kWorkers = 2;
constexpr int kRounds = 2;

using Reported = std::tuple<std::int64_t, int, std::int64_t>;  // token, choice, value

// A machine that remembers all that is reported to it.
class ReportingMachine : public cpu::CpuMachine {
 public:
  ReportingMachine(cpu::RankContext& context, const cpu::WorkerPlace& place,
                   std::vector<Reported>& reported)
      : CpuMachine(context, cpu::Kind::kDispatch, place), reported_(reported) {}
  void report_bad_choice(std::int64_t token, int choice, std::int64_t value) {
    reported_.emplace_back(token, choice, value);
    CpuMachine::report_bad_choice(token, choice, value);
  }

 private:
  std::vector<Reported>& reported_;
};

layout::BufferShape buffer_shape() {
  layout::BufferShape shape;
  shape.num_ranks = kRanks;
  shape.num_experts = kExperts;
  shape.max_tokens = kTokens;
  shape.hidden = kHidden;
  shape.top_k = kTopK;
  shape.max_rounds = kRounds;
  return shape;
}

// Both ranks, driven by one thread: a first dispatch's sends wait for nobody.
template <class Index>
class TwoRanks {
 public:
  explicit TwoRanks(const std::vector<Index>& topk) : topk_(topk) {
    const auto map = layout::BufferMap::of(buffer_shape());
    const auto local_map = layout::LocalMap::of(buffer_shape());
    SymmetricMemory memory;
    memory.bytes = static_cast<std::size_t>(map.total_bytes);
    for (Rank& rank : ranks_) {
      rank.symmetric.resize(memory.bytes);
      memory.peers.push_back(rank.symmetric.data());
    }
    for (int i = 0; i < kRanks; ++i) {
      Rank& rank = ranks_[static_cast<std::size_t>(i)];
      memory.local = rank.symmetric.data();
      rank.context =
          std::make_unique<cpu::RankContext>(i, map.control_map(), memory, std::int64_t{2000});
      rank.local.resize(static_cast<std::size_t>(local_map.total_bytes));
      std::fill_n(reinterpret_cast<std::uint32_t*>(rank.local.data() + local_map.active.offset),
                  kRanks, 1U);
      for (int at = 0; at < kTokens * kHidden; ++at) {
        rank.x.push_back(static_cast<std::uint16_t>(0x3F00 + 64 * i + at / kHidden));
      }
      rank.out.resize(static_cast<std::size_t>(kExperts / kRanks * kRanks * kTokens * kHidden));
      rank.counts.resize(kExperts / kRanks);
    }
  }

  void dispatch() {
    for (int round = 0; round < kRounds; ++round) {
      for_workers([round](auto& m, const auto& args) { protocol::dispatch_send(m, args, round); });
    }
    for (int round = 0; round < kRounds; ++round) {
      for_workers(
          [round](auto& m, const auto& args) { protocol::dispatch_receive(m, args, round); });
    }
  }

  struct Rank {
    std::vector<std::byte> symmetric, local;
    std::unique_ptr<cpu::RankContext> context;
    std::vector<std::uint16_t> x, out;
    std::vector<std::int32_t> counts;
    std::vector<Reported> reported;
  };
  const Rank& rank(std::size_t i) const { return ranks_[i]; }

 private:
  template <class Role>
  void for_workers(Role role) {
    for (Rank& rank : ranks_) {
      protocol::DispatchArgs args;
      args.op.map = layout::BufferMap::of(buffer_shape());
      args.op.local_map = layout::LocalMap::of(buffer_shape());
      args.op.local = rank.local.data();
      args.rules = {{kExperts, kRanks, kRounds}, false};
      args.topk = {topk_.data(), sizeof(Index) == 8, kTokens, kTopK, kExperts};
      args.format = DispatchFormat::kBf16;
      args.x = rank.x.data();
      args.out_x = reinterpret_cast<std::byte*>(rank.out.data());
      args.out_counts = rank.counts.data();
      for (int worker = 0; worker < kWorkers; ++worker) {
        ReportingMachine m(
            *rank.context,
            {worker, kWorkers, layout::scratch_bytes(args.rules.experts, args.topk.k)},
            rank.reported);
        role(m, args);
      }
    }
  }

  const std::vector<Index>& topk_;
  std::vector<Rank> ranks_ = std::vector<Rank>(kRanks);
};

template <class Index>
void expect_counted_as_none(const std::vector<Index>& bad, const std::vector<Reported>& reported) {
  std::vector<Index> good = bad;
  for (Index& value : good) {
    if (value < 0 || value >= kExperts) value = -1;
  }
  TwoRanks<Index> seen(bad), expected(good);
  seen.dispatch();
  expected.dispatch();
  for (std::size_t i = 0; i < kRanks; ++i) {
    EXPECT_FALSE(seen.rank(i).context->failed());
    EXPECT_EQ(seen.rank(i).counts, expected.rank(i).counts);
    EXPECT_EQ(seen.rank(i).out, expected.rank(i).out);
    EXPECT_EQ(seen.rank(i).reported, reported);
    EXPECT_TRUE(expected.rank(i).reported.empty());
    EXPECT_EQ(expected.rank(i).context->bad_choice().state, 0U);
    const machine::BadChoiceRecord first = seen.rank(i).context->bad_choice();
    EXPECT_EQ(first.state, 2U);
    EXPECT_EQ(Reported(first.token, first.choice, first.value), reported.front());
  }
}

TEST(BadChoice, CountsAsNoneAndIsReportedOnceByItsTokensWorker) {
  expect_counted_as_none<std::int32_t>(
      {0, 7, -1, 3, 999, 2, -1, -1, -1, 8, 1, -2, 5, 5, -2147483648},
      {{1, 1, 999}, {3, 0, 8}, {3, 2, -2}, {4, 2, -2147483648}});
}

TEST(BadChoice, IsReportedWithAllOfA64BitValue) {
  constexpr std::int64_t kBig = (std::int64_t{1} << 32) + 3;  // 3, if cut to 32 bits
  expect_counted_as_none<std::int64_t>({0, 7, kBig, 3, 1, 2, -1, -1, -1, 6, 1, -kBig, 5, 5, 4},
                                       {{0, 2, kBig}, {3, 2, -kBig}});
}

TEST(BadChoice, IsNamedInASentence) {
  EXPECT_EQ(machine::sentence_of({2, 1, 3, 999}, 64),
            "topk_idx of token 3, choice 1 is 999, but must be -1 to 63");
}

}  // namespace
}  // namespace braid::conformance
