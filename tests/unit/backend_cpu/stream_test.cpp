#include "braid/stream.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <ctime>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "braid/error.hpp"
#include "machine/stream_backend.hpp"

namespace braid {
namespace {

using std::chrono::milliseconds;

void sleep_ms(int ms) { std::this_thread::sleep_for(milliseconds(ms)); }

// What a call throws; "" where it throws nothing.
template <class Call>
std::string message_of(Call call) {
  try {
    call();
  } catch (const std::exception& error) {
    return error.what();
  }
  return "";
}

TEST(CpuStream, RunsInOrderOnOneOtherThread) {
  Stream stream = Stream::cpu();
  std::vector<int> order;
  std::vector<std::thread::id> threads;
  for (int i = 0; i < 1000; ++i) {
    stream.run([&, i] {
      order.push_back(i);
      threads.push_back(std::this_thread::get_id());
    });
  }
  stream.synchronize();
  ASSERT_EQ(order.size(), 1000U);
  for (int i = 0; i < 1000; ++i) EXPECT_EQ(order[static_cast<std::size_t>(i)], i);
  EXPECT_NE(threads.front(), std::this_thread::get_id());
  for (const auto& id : threads) EXPECT_EQ(id, threads.front());
}

TEST(CpuStream, EnqueueReturnsBeforeTheOperationRan) {
  Stream stream = Stream::cpu();
  std::atomic<bool> go{false};
  stream.run([&] {
    while (!go) std::this_thread::yield();
  });
  const Event event = stream.record();
  EXPECT_FALSE(event.ready());
  go = true;
  event.wait();
  EXPECT_TRUE(event.ready());
}

TEST(CpuStream, WakesAfterSleepingLonger) {
  Stream stream = Stream::cpu();
  for (int i = 0; i < 5; ++i) {
    sleep_ms(5);  // longer than any spin
    int value = 0;
    stream.run([&] { value = i + 1; });
    stream.synchronize();
    EXPECT_EQ(value, i + 1);
  }
}

TEST(CpuStream, EventOrdersOneStreamAfterAnother) {
  Stream first = Stream::cpu();
  Stream second = Stream::cpu();
  for (int i = 0; i < 100; ++i) {
    int value = 0;  // not atomic: ThreadSanitizer sees a missing order
    int seen = -1;
    first.run([&, i] {
      if (i % 10 == 0) sleep_ms(1);
      value = i;
    });
    second.wait(first.record());
    second.run([&] { seen = value; });
    second.synchronize();
    EXPECT_EQ(seen, i);
  }
}

TEST(CpuStream, EventOfAnIdleStreamIsReadyAtOnce) {
  Stream stream = Stream::cpu();
  EXPECT_TRUE(stream.record().ready());
  stream.run([] {});
  stream.synchronize();
  EXPECT_TRUE(stream.record().ready());
  EXPECT_TRUE(Event().ready());
  Event().wait();
  stream.wait(Event());
}

TEST(CpuStream, EventOutlivesItsStream) {
  Event event;
  {
    Stream stream = Stream::cpu();
    stream.run([] { sleep_ms(10); });
    event = stream.record();
  }
  EXPECT_TRUE(event.ready());
  event.wait();
}

TEST(CpuStream, FailureSkipsWhatFollowsAndStays) {
  Stream stream = Stream::cpu();
  bool before = false;
  bool after = false;
  stream.run([&] { before = true; });
  stream.run([] { throw Error(ErrorCode::kTimeout, "rank 3 is silent"); });
  stream.run([&] { after = true; });
  const Event late = stream.record();
  for (int i = 0; i < 2; ++i) {
    EXPECT_EQ(message_of([&] { stream.synchronize(); }), "rank 3 is silent");
  }
  EXPECT_EQ(message_of([&] { late.wait(); }), "rank 3 is silent");
  EXPECT_TRUE(late.ready());
  EXPECT_TRUE(before);
  EXPECT_FALSE(after);
  // Also on the quick way of an idle stream.
  EXPECT_EQ(message_of([&] { stream.record().wait(); }), "rank 3 is silent");
}

TEST(CpuStream, EventBeforeAFailureDoesNotCarryIt) {
  Stream stream = Stream::cpu();
  stream.run([] {});
  const Event early = stream.record();
  stream.run([] { throw Error(ErrorCode::kTimeout, "late"); });
  early.wait();
  EXPECT_EQ(message_of([&] { stream.synchronize(); }), "late");
}

TEST(CpuStream, WaitingOnAFailedEventFailsInOrder) {
  for (const bool already_failed : {false, true}) {
    Stream first = Stream::cpu();
    Stream second = Stream::cpu();
    std::atomic<bool> go{already_failed};
    bool before = false;
    bool after = false;
    first.run([&] {
      while (!go) std::this_thread::yield();
      throw Error(ErrorCode::kTimeout, "rank 1 is silent");
    });
    const Event event = first.record();
    if (already_failed) message_of([&] { event.wait(); });
    second.run([&] { before = true; });
    second.wait(event);
    second.run([&] { after = true; });
    go = true;
    EXPECT_EQ(message_of([&] { second.synchronize(); }), "rank 1 is silent");
    EXPECT_TRUE(before);
    EXPECT_FALSE(after);
  }
}

TEST(CpuStream, WorkersRunAtTheSameTime) {
  Stream stream = Stream::cpu();
  for (const int num_workers : {1, 3, 8, 2}) {
    std::atomic<int> arrived{0};
    std::vector<int> calls(static_cast<std::size_t>(num_workers), 0);
    for (int turn = 1; turn <= 20; ++turn) {
      stream.backend()->run_workers(num_workers, [&, turn](int worker, int count) {
        EXPECT_EQ(count, num_workers);
        ++calls[static_cast<std::size_t>(worker)];
        ++arrived;
        // Ends only if every worker is running now.
        while (arrived < turn * num_workers) std::this_thread::yield();
      });
    }
    stream.synchronize();
    for (const int count : calls) EXPECT_EQ(count, 20);
  }
}

TEST(CpuStream, FailingWorkerEndsTheOperationAfterAllReturned) {
  Stream stream = Stream::cpu();
  std::atomic<int> returned{0};
  stream.backend()->run_workers(4, [&](int worker, int) {
    if (worker == 2) throw Error(ErrorCode::kTimeout, "worker 2");
    sleep_ms(2);
    ++returned;
  });
  EXPECT_EQ(message_of([&] { stream.synchronize(); }), "worker 2");
  EXPECT_EQ(returned, 3);
}

TEST(CpuStream, DestructionRunsWhatWasEnqueued) {
  int count = 0;
  {
    Stream stream = Stream::cpu();
    Stream copy = stream;
    stream.run([] { sleep_ms(5); });
    for (int i = 0; i < 10; ++i) stream.run([&] { ++count; });
    stream = Stream();
    copy.run([&] { ++count; });
  }
  EXPECT_EQ(count, 11);
}

TEST(CpuStream, LastHandleMayGoOnItsOwnThread) {
  for (const int num_workers : {0, 3}) {
    std::atomic<bool> ran{false};
    Event event;
    {
      auto holder = std::make_shared<Stream>(Stream::cpu());
      Stream& stream = *holder;
      std::atomic<bool>* flag = &ran;
      if (num_workers == 0) {
        stream.run([holder]() mutable {
          sleep_ms(5);
          holder.reset();
        });
      } else {
        stream.backend()->run_workers(num_workers, [holder](int worker, int) mutable {
          sleep_ms(5);
          if (worker == 1) holder.reset();
        });
      }
      stream.run([flag] { *flag = true; });
      event = stream.record();
    }
    event.wait();
    EXPECT_TRUE(ran);
  }
}

TEST(CpuStream, SynchronizeByItsOwnOperationIsRefused) {
  Stream stream = Stream::cpu();
  stream.run([&] { stream.synchronize(); });
  EXPECT_NE(message_of([&] { stream.synchronize(); }).find("wait for itself"), std::string::npos);
}

TEST(CpuStream, EmptyHandleAndEmptyCallableAreRefused) {
  EXPECT_THROW(Stream().run([] {}), Error);
  EXPECT_THROW(Stream().synchronize(), Error);
  Stream stream = Stream::cpu();
  EXPECT_THROW(stream.run(nullptr), Error);
  EXPECT_THROW(stream.backend()->run_workers(0, [](int, int) {}), Error);
  stream.synchronize();  // a refused call leaves the stream as it was
}

TEST(CpuStream, ManyThreadsMayEnqueue) {
  Stream stream = Stream::cpu();
  int count = 0;
  {
    std::vector<std::jthread> threads;
    for (int t = 0; t < 4; ++t) {
      threads.emplace_back([&] {
        for (int i = 0; i < 200; ++i) stream.run([&] { ++count; });
        stream.synchronize();
      });
    }
  }
  EXPECT_EQ(count, 800);
}

TEST(CpuStream, ManyIdleStreamsCostNoProcessorTime) {
  std::vector<Stream> streams;
  for (int i = 0; i < 8; ++i) {
    streams.push_back(Stream::cpu());
    streams.back().backend()->run_workers(3, [](int, int) {});
    streams.back().synchronize();
  }
  sleep_ms(20);
  const std::clock_t before = std::clock();
  sleep_ms(200);
  const double used_ms = 1e3 * static_cast<double>(std::clock() - before) / CLOCKS_PER_SEC;
  EXPECT_LT(used_ms, 40.0);
}

}  // namespace
}  // namespace braid
