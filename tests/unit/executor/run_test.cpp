// run(): what is called when, what waits for what, and how a failure ends all of it.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <mutex>
#include <stdexcept>
#include <thread>

#include "braid/error.hpp"
#include "braid/executor.hpp"
#include "braid/overlap.hpp"
#include "unit/executor/expect_error.hpp"

namespace braid::test {
namespace {

using Clock = std::chrono::steady_clock;
using Kind = OperationKind;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// Custom operations by name, each on a lane; edges are added by the test.
Schedule custom(const std::vector<std::pair<std::string, int>>& operations, int num_lanes) {
  Schedule schedule;
  schedule.name = "test";
  schedule.device_sms = 8;
  for (int lane = 0; lane < num_lanes; ++lane) {
    schedule.lanes.push_back({"lane " + std::to_string(lane)});
  }
  for (const auto& [name, lane] : operations) {
    schedule.operations.push_back({.name = name, .lane = lane, .sms = 1});
  }
  return schedule;
}

void sleep_ms(int ms) { std::this_thread::sleep_for(std::chrono::milliseconds(ms)); }

TEST(Run, CallsOperationsInTheOrderOfTheSchedule) {
  for (const Schedule& schedule :
       {sequential({.device_sms = 4, .attention = true, .shared_expert = true}),
        per_expert_overlap(
            {.parts = {.device_sms = 4}, .method = 3, .send_sms = 1, .receive_sms = 1}),
        two_batch_overlap(
            {.programs = {find_program("deepseek-decode"), find_program("deepseek-decode")},
           .layers = 2,
           .device_sms = 4,
           .comm_sms = 1})}) {
    std::vector<int> called;
    Bindings bindings;
    for (int kind = 0; kind < kNumOperationKinds; ++kind) {
      bindings.bind(static_cast<Kind>(kind), [&](OperationContext& context) {
        called.push_back(context.index);
        EXPECT_EQ(&context.operation,
                  &context.schedule.operations[static_cast<std::size_t>(context.index)]);
        EXPECT_EQ(context.workers, context.operation.sms > 0 ? context.operation.sms : 4);
      });
    }
    const RunResult result = run(schedule, bindings);
    EXPECT_EQ(called, start_order(schedule)) << schedule.name;
    EXPECT_EQ(result.times.size(), schedule.operations.size());
  }
}

TEST(Run, GivesAnOperationToItsNameBeforeItsKind) {
  std::vector<std::string> called;
  Bindings bindings;
  const auto note = [&](const std::string& as) {
    return [&called, as](OperationContext& context) {
      called.push_back(context.operation.name + " as " + as);
    };
  };
  bindings.bind(Kind::kCustom, note("kind")).bind("b", note("name"));
  run(custom({{"a", 0}, {"b", 0}}, 1), bindings);
  EXPECT_EQ(called, (std::vector<std::string>{"a as kind", "b as name"}));
}

TEST(Run, RefusesAnOperationThatNothingIsBoundToBeforeAnythingStarts) {
  bool called = false;
  Bindings bindings;
  bindings.bind("a", [&](OperationContext&) { called = true; });
  expect_error(ErrorCode::kInvalidArgument, {"nothing is bound to b"}, [&] {
    run(custom({{"a", 0}, {"b", 0}}, 1), bindings);
  });
  EXPECT_FALSE(called);
}

TEST(Run, RefusesAScheduleThatDoesNotHold) {
  Schedule schedule = custom({{"a", 0}}, 1);
  schedule.operations[0].lane = 1;
  Bindings bindings;
  bindings.bind(Kind::kCustom, [](OperationContext&) {});
  expect_error(ErrorCode::kInvalidArgument, {"lane 1"}, [&] { run(schedule, bindings); });
}

// Without the edge the reader would look long before the writer has written.
TEST(Run, StartsAnOperationWhenTheOneOnAnotherLaneHasEnded) {
  Schedule schedule = custom({{"write", 0}, {"read", 1}}, 2);
  schedule.edges = {{0, 1, EdgeKind::kAfter}};
  std::string text;  // no atomic: ThreadSanitizer sees whether the edge orders the two
  bool seen = false;
  Bindings bindings;
  bindings.bind("write", [&](OperationContext& context) {
    context.stream.run([&] {
      sleep_ms(20);
      text = "written";
    });
  });
  bindings.bind("read", [&](OperationContext& context) {
    context.stream.run([&] { seen = text == "written"; });
  });
  const RunResult result = run(schedule, bindings);
  EXPECT_TRUE(seen);
  EXPECT_LE(result.times[0].end_us, result.times[1].start_us);
  EXPECT_GE(result.times[0].end_us - result.times[0].start_us, 20e3);
}

TEST(Run, RunsLanesWithoutAnEdgeBesideEachOther) {
  std::atomic<int> met{0};
  const auto meet = [&](OperationContext& context) {
    context.stream.run([&] {
      met.fetch_add(1);
      const auto start = Clock::now();
      while (met.load() < 2 && seconds_since(start) < 10) std::this_thread::yield();
    });
  };
  Bindings bindings;
  bindings.bind(Kind::kCustom, meet);
  const auto start = Clock::now();
  run(custom({{"a", 0}, {"b", 1}}, 2), bindings);
  EXPECT_EQ(met.load(), 2);
  EXPECT_LT(seconds_since(start), 10);
}

TEST(Run, TakesTheCallersStreams) {
  std::vector<Stream> streams = {Stream::cpu(), Stream::cpu()};
  Bindings bindings;
  bindings.bind(Kind::kCustom, [&](OperationContext& context) {
    const auto lane = static_cast<std::size_t>(context.operation.lane);
    EXPECT_EQ(context.stream.backend(), streams[lane].backend());
  });
  const ExecutorOptions options{
      .stream = [&](int lane) { return streams[static_cast<std::size_t>(lane)]; }, .prepare = {}};
  for (int i = 0; i < 3; ++i) run(custom({{"a", 0}, {"b", 1}}, 2), bindings, options);
}

// Two layers of two micro-batches: inputs come in, each layer hands on, the last one to the caller.
TEST(Run, RefusesAStreamThatHasFailedBeforeAnythingStarts) {
  Stream stream = Stream::cpu();
  stream.run([] { throw std::runtime_error("an earlier run"); });
  bool called = false;
  Bindings bindings;
  bindings.bind("a", [&](OperationContext&) { called = true; });
  bindings.on_failure([&](std::exception_ptr) { called = true; });
  ExecutorOptions options;
  options.stream = [&](int) { return stream; };
  EXPECT_THROW(run(custom({{"a", 0}}, 1), bindings, options), std::runtime_error);
  EXPECT_FALSE(called);
}

TEST(Run, HandsStateFromLayerToLayerOfAMicroBatch) {
  Schedule schedule = custom({}, 1);
  for (int layer = 0; layer < 2; ++layer) {
    for (int batch = 0; batch < 2; ++batch) {
      for (const char* name : {"take", "give"}) {
        schedule.operations.push_back(
            {.name = name, .sms = 1, .micro_batch = batch, .layer = layer});
      }
    }
  }
  Bindings bindings;
  bindings.bind("take", [](OperationContext& context) {
    context.state.set("mine", context.state.pop<int>("value") * context.state.get<int>("factor"));
  });
  bindings.bind("give", [](OperationContext& context) {
    context.next.set("value", context.state.pop<int>("mine"));
  });
  ExecutorOptions options;
  options.prepare = [](State& state, int batch, int layer) {
    if (layer == 0) state.set("value", batch + 1);
    state.set("factor", 10);  // may be left
  };
  RunResult result = run(schedule, bindings, options);
  ASSERT_EQ(result.results.size(), 2U);
  EXPECT_EQ(result.results[0].get<int>("value"), 100);
  EXPECT_EQ(result.results[1].get<int>("value"), 200);
}

TEST(Run, NamesWhatALayerLeavesAndWhereItDoes) {
  Schedule schedule = custom({{"a", 0}, {"b", 0}, {"c", 0}}, 1);
  schedule.operations[1].layer = schedule.operations[2].layer = 1;
  bool reached = false;
  Bindings bindings;
  bindings.bind("a", [](OperationContext& context) { context.next.set("hidden", 1); });
  bindings.bind("b", [](OperationContext& context) { context.state.set("handle", 1); });
  bindings.bind("c", [&](OperationContext&) { reached = true; });
  expect_error(ErrorCode::kRefused, {"micro-batch 0 in layer 1", "'handle', 'hidden'"},
               [&] { run(schedule, bindings); });
  EXPECT_TRUE(reached);
}

TEST(Run, NamesAMissingValueAndTheOperationThatAsked) {
  Bindings bindings;
  bindings.bind(Kind::kCustom, [](OperationContext& context) { context.state.get<int>("routes"); });
  expect_error(ErrorCode::kRefused, {"a needs 'routes' of micro-batch 0 in layer 0"}, [&] {
    run(custom({{"a", 0}}, 1), bindings);
  });
}

TEST(Run, WaitsOnTheHostForWhatWasEnqueuedAndWhatThatWaitsFor) {
  Schedule schedule = custom({{"slow", 0}, {"ask", 1}}, 2);
  schedule.edges = {{0, 1, EdgeKind::kAfter}};
  int value = 0;
  Bindings bindings;
  bindings.bind("slow", [&](OperationContext& context) {
    context.stream.run([&] {
      sleep_ms(20);
      value = 7;
    });
  });
  int seen = 0;
  bindings.bind("ask", [&](OperationContext& context) {
    context.wait();
    seen = value;
  });
  run(schedule, bindings);
  EXPECT_EQ(seen, 7);
}

// Three lanes: one fails, one spins for what the failed one was to do, one is in order.
struct Failing {
  Schedule schedule = custom({{"fails", 0}, {"spins", 1}, {"works", 2}, {"later", 0}}, 3);
  std::atomic<bool> ended{false};
  std::atomic<int> worked{0};
  std::atomic<bool> later_called{false}, later_ran{false};
  int told = 0;
  Bindings bindings;

  Failing() {
    bindings.bind("spins", [this](OperationContext& context) {
      context.stream.run([this] {
        const auto start = Clock::now();
        while (!ended.load() && seconds_since(start) < 60) std::this_thread::yield();
        if (!ended.load()) throw Error(ErrorCode::kTimeout, "spun in vain");
        throw Error(ErrorCode::kPeerFailed, "told of a failure");
      });
    });
    bindings.bind("works",
                  [this](OperationContext& context) { context.stream.run([this] { ++worked; }); });
    bindings.bind("later", [this](OperationContext& context) {
      later_called = true;
      context.stream.run([this] { later_ran = true; });
    });
    bindings.on_failure([this](std::exception_ptr) {
      ++told;
      ended = true;
    });
  }

  // The failure that run() throws, quickly.
  std::string thrown() {
    const auto start = Clock::now();
    std::string what;
    try {
      run(schedule, bindings);
    } catch (const std::exception& error) {
      what = error.what();
    }
    EXPECT_LT(seconds_since(start), 20);
    EXPECT_EQ(told, 1);
    EXPECT_FALSE(later_ran);
    return what;
  }
};

TEST(Run, EndsAllLanesWithTheErrorOfWorkOnOneOfThem) {
  Failing failing;
  failing.bindings.bind("fails", [](OperationContext& context) {
    context.stream.run([] {
      sleep_ms(10);
      throw std::runtime_error("the GEMM has no memory");
    });
  });
  EXPECT_EQ(failing.thrown(), "the GEMM has no memory");
  EXPECT_EQ(failing.worked, 1);
}

TEST(Run, EndsAllLanesWithTheErrorOfACallable) {
  Failing failing;
  // The spinning consumer is enqueued before the callable throws.
  std::swap(failing.schedule.operations[0], failing.schedule.operations[1]);
  failing.bindings.bind(
      "fails", [](OperationContext&) { throw std::runtime_error("the callable has no memory"); });
  EXPECT_EQ(failing.thrown(), "the callable has no memory");
  EXPECT_FALSE(failing.later_called);
  EXPECT_EQ(failing.worked, 0);
}

TEST(Run, EndsAHostWaitWhenAnotherLaneFails) {
  Failing failing;
  failing.bindings.bind("fails", [](OperationContext& context) {
    context.stream.run([] {
      sleep_ms(10);
      throw std::runtime_error("the GEMM has no memory");
    });
  });
  failing.schedule.operations.insert(failing.schedule.operations.begin() + 2,
                                     {.name = "waits", .lane = 1, .sms = 1});
  failing.bindings.bind("waits", [](OperationContext& context) { context.wait(); });
  EXPECT_EQ(failing.thrown(), "the GEMM has no memory");
  EXPECT_FALSE(failing.later_called);
}

TEST(Run, ThrowsTheCauseThoughATimeOutWasSeenFirst) {
  Schedule schedule = custom({{"waits", 0}, {"fails", 1}}, 2);
  Bindings bindings;
  bindings.bind("waits", [](OperationContext& context) {
    context.stream.run([] { throw Error(ErrorCode::kTimeout, "rank 1 did not answer"); });
  });
  bindings.bind("fails", [](OperationContext& context) {
    context.stream.run([] {
      sleep_ms(50);
      throw Error(ErrorCode::kInternal, "the cause");
    });
  });
  expect_error(ErrorCode::kInternal, {"the cause"}, [&] { run(schedule, bindings); });
}

}  // namespace
}  // namespace braid::test
