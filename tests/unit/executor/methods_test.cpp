// Every method of overlap gives the bits of the sequential schedule, and a failure inside one ends
// every rank.
#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <chrono>
#include <memory>
#include <stdexcept>
#include <thread>

#include "braid/overlap.hpp"
#include "expert/pass.hpp"
#include "runtime/buffer_state.hpp"
#include "support/ranks.hpp"
#include "unit/executor/expect_error.hpp"
#include "unit/executor/moe_fixture.hpp"

namespace braid::test {
namespace {

constexpr int kDevice = 4;

LayerParts parts(Reduce reduce = Reduce::kTokenRank) {
  return {.device_sms = kDevice, .shared_expert = true, .reduce = reduce};
}

Schedule per_expert(int method, int rounds, Reduce reduce = Reduce::kTokenRank) {
  return per_expert_overlap({.parts = parts(reduce),
                             .method = method,
                             .rounds = rounds,
                             .send_sms = 1,
                             .receive_sms = 1});
}

Schedule single_batch() {
  return single_batch_overlap({.parts = parts(), .block_rows = kMoeBlockRows, .comm_sms = 1});
}

TwoBatchOptions two_batch_options(const char* program, int layers, int rounds = 1) {
  return {.programs = {find_program(program), find_program(program)},
          .layers = layers,
          .device_sms = kDevice,
          .comm_sms = 1,
          .rounds = rounds};
}

// Uneven ranks, one without a token, one with a single one.
MoeCase uneven(DispatchFormat format) {
  return {.tokens = {9, 0, 1, 6}, .format = format, .ranks_per_node = 2};
}

class Methods : public ::testing::TestWithParam<DispatchFormat> {};
INSTANTIATE_TEST_SUITE_P(Formats, Methods,
                         ::testing::Values(DispatchFormat::kBf16, DispatchFormat::kFp8),
                         [](const auto& of) { return std::string(to_string(of.param)); });

TEST_P(Methods, GiveTheBitsOfTheSequentialSchedule) {
  const MoeCase of = uneven(GetParam());
  const std::vector<Rows> expected = run_moe(of, sequential(parts()));
  for (int method = 1; method <= 4; ++method) {
    EXPECT_EQ(run_moe(of, per_expert(method, 2)), expected) << "method " << method;
  }
  EXPECT_EQ(run_moe(of, single_batch()), expected) << "sbo";
  for (const int rounds : {1, 2}) {
    EXPECT_EQ(run_moe(of, two_batch_overlap(two_batch_options("deepseek-decode", 1, rounds)), 2),
              expected)
        << "tbo in " << rounds << " rounds";
  }
}

TEST_P(Methods, GiveTheBitsOfTheSequentialScheduleOnAnyNumberOfRanks) {
  for (const std::vector<int>& tokens : {std::vector<int>{5}, std::vector<int>{20, 3}}) {
    const MoeCase of{.tokens = tokens, .format = GetParam()};
    const std::vector<Rows> expected = run_moe(of, sequential(parts()));
    for (int method = 1; method <= 4; ++method) {
      EXPECT_EQ(run_moe(of, per_expert(method, 4)), expected) << "method " << method;
    }
    EXPECT_EQ(run_moe(of, single_batch()), expected) << "sbo";
  }
}

// The rows that an expert's rank sums are those of one round.
TEST(ExpertRank, SumsInRoundsAlikeWithEveryMethod) {
  const MoeCase of = uneven(DispatchFormat::kBf16);
  const std::vector<Rows> expected = run_moe(of, per_expert(1, 2, Reduce::kExpertRank));
  for (int method = 2; method <= 4; ++method) {
    EXPECT_EQ(run_moe(of, per_expert(method, 2, Reduce::kExpertRank)), expected) << method;
  }
}

// Layer by layer, each a run of its own.
std::vector<Rows> layer_by_layer(MoeCase of) {
  std::vector<Rows> outputs(of.tokens.size());
  const int layers = of.layers;
  of.layers = 1;
  const Schedule schedule = sequential(parts());
  const auto failures = testing::run_ranks(of.topology(), {.devices = {}}, [&](Group& group) {
    const auto rank = static_cast<std::size_t>(group.rank());
    MoeRank moe(group, of, buffer_needs(schedule));
    Rows x = random_tokens(group.rank(), of.tokens[rank]);
    for (int layer = 0; layer < layers; ++layer) x = moe.run(schedule, x);
    outputs[rank] = x;
  });
  for (const std::string& failure : failures) EXPECT_EQ(failure, "");
  return outputs;
}

TEST(TwoBatches, RunThroughLayersAsSequentialOnesDo) {
  MoeCase of = uneven(DispatchFormat::kBf16);
  of.layers = 2;
  const std::vector<Rows> expected = layer_by_layer(of);
  for (const char* name : {"deepseek-decode", "deepseek-decode-yield"}) {
    TwoBatchOptions options = two_batch_options(name, 2);
    EXPECT_EQ(run_moe(of, sequential_program(options.programs[0], options)), expected) << name;
    for (const int delta : {0, 1, 2, 3}) {
      options.delta_stages = delta;
      EXPECT_EQ(run_moe(of, two_batch_overlap(options), 2), expected) << name << " " << delta;
    }
  }
}

TEST(TwoBatches, AreAgreedOnByAllRanks) {
  std::array<std::atomic<int>, 2> agreed{};
  for (const bool all : {true, false}) {
    const auto failures = testing::run_ranks({3, 3}, {.devices = {}}, [&](Group& group) {
      const auto mode = group.rank() == 1 ? ForwardMode::kIdle : ForwardMode::kDecode;
      TwoBatchWish wish = two_batch_wish(mode, ExpertPath::kLowLatency);
      if (!all && group.rank() == 2) wish.can = false;
      if (agree_on_two_batches(group, wish)) ++agreed[all ? 1 : 0];
    });
    for (const std::string& failure : failures) EXPECT_EQ(failure, "");
  }
  EXPECT_EQ(agreed[1], 3);
  EXPECT_EQ(agreed[0], 0);
}

TEST(BufferNeeds, AreWhatASchedulePutsUnderWay) {
  EXPECT_EQ(buffer_needs(sequential(parts())).depth, 1);
  const BufferNeeds rounds = buffer_needs(per_expert(2, 4));
  EXPECT_EQ(rounds.max_rounds, 4);
  EXPECT_EQ(rounds.depth, 1);
  // With stages two apart one operation is on its way at a time, with stages in step two are.
  TwoBatchOptions options = two_batch_options("deepseek-decode", 2);
  EXPECT_EQ(buffer_needs(two_batch_overlap(options)).depth, 1);
  EXPECT_EQ(buffer_needs(two_batch_overlap(options)).handle_slots, 1);
  options.delta_stages = 0;
  EXPECT_EQ(buffer_needs(two_batch_overlap(options)).handle_slots, 2);
  EXPECT_EQ(buffer_needs(two_batch_overlap(options)).depth, 2);
}

// What each rank says of a run in which `spoil` bound something else on rank 1; and how long it
// took.
struct Spoiled {
  std::vector<std::string> failures;
  double seconds = 0;
};
template <class Spoil>
Spoiled run_spoiled(const Schedule& schedule, Spoil spoil) {
  const MoeCase of{.tokens = {6, 6, 6, 6}, .timeout_ms = 60000};
  const auto start = std::chrono::steady_clock::now();
  Spoiled spoiled;
  spoiled.failures = testing::run_ranks(of.topology(), {.timeout_ms = of.timeout_ms, .devices = {}},
                                        [&](Group& group) {
                                          MoeRank moe(group, of, buffer_needs(schedule));
                                          if (group.rank() == 1) spoil(moe.bindings());
                                          moe.run(schedule, random_tokens(group.rank(), 6));
                                        });
  spoiled.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return spoiled;
}

void expect_all_end(const Spoiled& spoiled, const std::string& cause) {
  EXPECT_LT(spoiled.seconds, 30) << "some rank waited for its deadline";
  for (std::size_t rank = 0; rank < spoiled.failures.size(); ++rank) {
    if (rank == 1) {
      EXPECT_EQ(spoiled.failures[rank], cause);
    } else {
      EXPECT_NE(spoiled.failures[rank].find("rank 1"), std::string::npos) << spoiled.failures[rank];
    }
  }
}

// The combine's send spins on a lane of its own for blocks that will not be signaled.
TEST(Failure, OfTheProducerEndsTheConsumerThatSpins) {
  expect_all_end(run_spoiled(single_batch(),
                             [](Bindings& bindings) {
                               bindings.bind(OperationKind::kDownGemm, [](OperationContext& c) {
                                 c.state.pop<std::shared_ptr<ExpertPass>>("experts 0/1");
                                 c.stream.run([] { throw std::runtime_error("no memory"); });
                               });
                             }),
                 "no memory");
}

TEST(Failure, OfAStageEndsEveryRank) {
  for (const OperationKind kind : {OperationKind::kGate, OperationKind::kUpGemm}) {
    for (const bool on_host : {true, false}) {
      const auto spoil = [&](Bindings& bindings) {
        bindings.bind(kind, [on_host](OperationContext& c) {
          if (on_host) throw std::runtime_error("a bad stage");
          c.stream.run([] { throw std::runtime_error("a bad stage"); });
          if (c.operation.kind != OperationKind::kUpGemm) return;
          // What the round's other steps ask for.
          const std::string name = "experts " + std::to_string(c.operation.round) + "/2";
          c.state.set(name, std::shared_ptr<ExpertPass>());
        });
      };
      expect_all_end(run_spoiled(per_expert(1, 2), spoil), "a bad stage");
    }
  }
}

// The threshold is for the schedules that have signals.
TEST(Methods, ShareBindingsWithAndWithoutSignals) {
  const MoeCase of{.tokens = {9, 4}, .signal_threshold = 1};
  EXPECT_EQ(run_moe(of, single_batch()), run_moe(of, sequential(parts())));
}

TEST(Methods, GiveEachRoundItsBudget) {
  const Schedule schedule = per_expert(3, 4);
  const MoeCase of{.tokens = {5, 7}};
  const auto failures = testing::run_ranks(of.topology(), {.devices = {}}, [&](Group& group) {
    MoeRank moe(group, of, buffer_needs(schedule));
    int seen = 0;
    const auto watch = [&](OperationKind kind, auto budget_of) {
      const OperationCallable bound = *moe.bindings().find({.kind = kind});
      moe.bindings().bind(kind, [&seen, bound, budget_of](OperationContext& context) {
        const Handle handle =
            context.state.has("handle") ? context.state.get<Handle>("handle") : Handle();
        bound(context);
        const Handle& now = handle.valid() ? handle : context.state.get<Handle>("handle");
        EXPECT_EQ(budget_of(now.state()), context.operation.sms)
            << describe(context.schedule, context.index);
        ++seen;
      });
    };
    using State = const detail::HandleState&;
    watch(OperationKind::kDispatchSend, [](State h) { return h.dispatch_options.send_workers; });
    watch(OperationKind::kDispatchReceive,
          [](State h) { return h.dispatch_options.receive_workers; });
    watch(OperationKind::kCombineSend, [](State h) { return h.combine_options.send_workers; });
    watch(OperationKind::kCombineReceive,
          [](State h) { return h.combine_options.receive_workers; });
    moe.run(schedule,
            random_tokens(group.rank(), of.tokens[static_cast<std::size_t>(group.rank())]));
    EXPECT_EQ(seen, 4 + 4 + 4 + 1);
  });
  for (const std::string& failure : failures) EXPECT_EQ(failure, "");
}

TEST(Failure, OfAPartThatIsNoFloatsIsASentence) {
  const MoeCase of{.tokens = {3}};
  const auto failures = testing::run_ranks(of.topology(), {.devices = {}}, [&](Group& group) {
    MoeRank moe(group, of, buffer_needs(sequential(parts())));
    std::vector<std::uint16_t> halves(3 * kMoeHidden);
    moe.bindings().bind(OperationKind::kSharedExpert, [&halves](OperationContext& context) {
      context.state.set("shared", Tensor(halves.data(), DType::kBFloat16, {3, kMoeHidden}));
    });
    moe.run(sequential(parts()), random_tokens(0, 3));
  });
  EXPECT_NE(failures[0].find("shared is bf16 of 384 elements, but must be f32"), std::string::npos)
      << failures[0];
}

TEST(Failure, OfBlocksThatDontFitIsASentence) {
  const Schedule schedule =
      single_batch_overlap({.parts = parts(), .block_rows = 2 * kMoeBlockRows, .comm_sms = 1});
  const MoeCase of{.tokens = {3}};
  const auto failures = testing::run_ranks(of.topology(), {.devices = {}}, [&](Group& group) {
    MoeRank moe(group, of, buffer_needs(schedule));
    moe.run(schedule, random_tokens(0, 3));
  });
  EXPECT_NE(failures[0].find("block_rows is 32, but the experts write blocks of 16 rows"),
            std::string::npos)
      << failures[0];
}

}  // namespace
}  // namespace braid::test
