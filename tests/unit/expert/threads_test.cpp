// Many callers at once, and no threads but those asked for.
#include <omp.h>

#include <atomic>
#include <filesystem>
#include <stdexcept>
#include <thread>

#include "expert/worker_team.hpp"
#include "unit/expert/ffn_fixture.hpp"

namespace braid::test {
namespace {

std::ptrdiff_t threads_of_this_process() {
  const std::filesystem::directory_iterator tasks("/proc/self/task");
  return std::distance(begin(tasks), end(tasks));
}

using Threads = EngineTest;

TEST_P(Threads, RanksMayShareOneObject) {
  const Layer layer({.num_experts = 2, .hidden = 136, .width = 64});
  const std::vector<Row> rows = random_rows(DispatchFormat::kBf16, 136, 40);
  std::vector<const Row*> places;
  for (const Row& row : rows) places.push_back(&row);
  const PackedRows packed(DispatchFormat::kBf16, 136, 40, {places, places});
  const ExpertFfn ffn(layer.weights(), {.engine = GetParam()});
  Output expected(DType::kFloat32, 2, 40, 136);
  ffn.run(packed.input(), expected.view(), {.begin = 0, .end = 2});

  std::atomic<int> wrong_rows = 0;
  const auto rank = [&] {
    for (int repeat = 0; repeat < 5; ++repeat) {
      Output out(DType::kFloat32, 2, 40, 136);
      ffn.run(packed.input(), out.view(), {.begin = 0, .end = 2, .num_workers = 2});
      for (int expert = 0; expert < 2; ++expert) {
        for (int row = 0; row < 40; ++row) {
          if (out.bits(expert, row) != expected.bits(expert, row)) ++wrong_rows;
        }
      }
    }
  };
  std::vector<std::thread> ranks;
  for (int i = 0; i < 4; ++i) ranks.emplace_back(rank);
  for (std::thread& thread : ranks) thread.join();
  EXPECT_EQ(wrong_rows, 0);
}

// Large enough that oneDNN would share each product among OpenMP's threads if it could.
TEST_P(Threads, OpenMpStaysOnTheCallingThreadAndAsItWas) {
  const Layer layer({.num_experts = 1, .hidden = 2048, .width = 256});
  const std::vector<Row> rows = random_rows(DispatchFormat::kBf16, 2048, 32);
  std::vector<const Row*> places;
  for (const Row& row : rows) places.push_back(&row);
  const PackedRows packed(DispatchFormat::kBf16, 2048, 32, {places});
  const ExpertFfn ffn(layer.weights(), {.engine = GetParam()});
  Output out(DType::kBFloat16, 1, 32, 2048);

  // A new thread has no OpenMP threads yet, whatever tests ran before.
  std::thread([&] {
    omp_set_num_threads(3);
    const std::ptrdiff_t before = threads_of_this_process();
    ffn.run(packed.input(), out.view(), {.begin = 0, .end = 1});
    EXPECT_EQ(threads_of_this_process(), before);
    EXPECT_EQ(omp_get_max_threads(), 3);
  }).join();
}

INSTANTIATE_TEST_SUITE_P(Engines, Threads, testing::ValuesIn(engines()), engine_name);

TEST(WorkerTeam, DoesEveryItemOnceAndEachWorkerOneAtATime) {
  expert::WorkerTeam team(4);
  ASSERT_EQ(team.num_workers(), 4);
  for (const std::int64_t count : {0, 1, 3, 1000}) {
    std::vector<std::atomic<int>> done(static_cast<std::size_t>(count));
    std::vector<int> of_worker(4);  // plain: two items at once on a worker would be a race
    team.for_each(count, [&](std::int64_t item, int worker) {
      ++done[static_cast<std::size_t>(item)];
      ++of_worker[static_cast<std::size_t>(worker)];
    });
    for (const auto& times : done) EXPECT_EQ(times, 1);
    EXPECT_EQ(of_worker[0] + of_worker[1] + of_worker[2] + of_worker[3], count);
  }
}

TEST(WorkerTeam, ThrowsTheFirstExceptionAndStartsNothingAfter) {
  expert::WorkerTeam team(1);
  int done = 0;
  const auto task = [&](std::int64_t item, int) {
    if (item == 2) throw std::runtime_error("item 2");
    ++done;
  };
  EXPECT_THROW(team.for_each(10, task), std::runtime_error);
  EXPECT_EQ(done, 2);
  team.for_each(2, task);
  EXPECT_EQ(done, 4);
}

}  // namespace
}  // namespace braid::test
