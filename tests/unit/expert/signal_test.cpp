// The call for each block, and what it may count on.
#include <atomic>
#include <mutex>
#include <set>
#include <stdexcept>

#include "unit/expert/ffn_fixture.hpp"

namespace braid::test {
namespace {

struct SignalSetup {
  std::vector<int> counts{0, 70, 32, 0, 1, 33};
  Layer layer{{.num_experts = 6, .hidden = 200, .width = 72}};
  std::vector<Row> rows = random_rows(DispatchFormat::kBf16, 200, 70);

  PackedRows packed() const {
    std::vector<std::vector<const Row*>> places;
    for (const int count : counts) {
      places.emplace_back();
      for (int i = 0; i < count; ++i) places.back().push_back(&rows[static_cast<std::size_t>(i)]);
    }
    return PackedRows(DispatchFormat::kBf16, 200, 70, places);
  }
};

using Signal = EngineTest;

TEST_P(Signal, ComesOnceForEachBlockAfterAllItsRows) {
  const SignalSetup setup;
  const PackedRows packed = setup.packed();
  const ExpertFfn ffn(setup.layer.weights(), {.engine = GetParam(), .wave_blocks = 3});
  Output expected(DType::kFloat32, 6, 70, 200);
  ffn.run(packed.input(), expected.view(), {.begin = 0, .end = 6});

  for (const int num_workers : {1, 2, 4}) {
    Output out(DType::kFloat32, 6, 70, 200);
    std::mutex mutex;
    std::multiset<std::pair<int, int>> seen;
    std::atomic<int> wrong_rows = 0;
    const auto on_block = [&](int expert, int block) {
      const int end = std::min(block * 32 + 32, setup.counts[static_cast<std::size_t>(expert)]);
      for (int row = block * 32; row < end; ++row) {
        if (out.bits(expert, row) != expected.bits(expert, row)) ++wrong_rows;
      }
      const std::lock_guard lock(mutex);
      seen.insert({expert, block});
    };
    ffn.run(packed.input(), out.view(),
            {.begin = 0, .end = 6, .num_workers = num_workers, .on_block = on_block});
    EXPECT_EQ(wrong_rows, 0);
    EXPECT_EQ(seen, (std::multiset<std::pair<int, int>>{
                        {1, 0}, {1, 1}, {1, 2}, {2, 0}, {4, 0}, {5, 0}, {5, 1}}));
  }
}

TEST_P(Signal, ComesForTheRangeOnly) {
  const SignalSetup setup;
  const PackedRows packed = setup.packed();
  const ExpertFfn ffn(setup.layer.weights(), {.engine = GetParam()});
  Output out(DType::kBFloat16, 2, 70, 200);
  std::multiset<std::pair<int, int>> seen;
  ffn.run(packed.input(), out.view(2),
          {.begin = 2, .end = 4, .on_block = [&](int expert, int block) {
             seen.insert({expert, block});
           }});
  EXPECT_EQ(seen, (std::multiset<std::pair<int, int>>{{2, 0}}));
  for (int row = 0; row < 70; ++row) EXPECT_EQ(out.untouched(0, row), row >= 32);
}

TEST_P(Signal, AnExceptionEndsTheRunAndTheNextRunIsWhole) {
  const SignalSetup setup;
  const PackedRows packed = setup.packed();
  const ExpertFfn ffn(setup.layer.weights(), {.engine = GetParam(), .wave_blocks = 2});
  Output out(DType::kBFloat16, 6, 70, 200);
  ExpertRun how{.begin = 0, .end = 6, .num_workers = 3, .on_block = [](int, int) {
                  throw std::runtime_error("stop");
                }};
  EXPECT_THROW(ffn.run(packed.input(), out.view(), how), std::runtime_error);
  std::atomic<int> calls = 0;
  how.on_block = [&](int, int) { ++calls; };
  ffn.run(packed.input(), out.view(), how);
  EXPECT_EQ(calls, 7);
}

INSTANTIATE_TEST_SUITE_P(Engines, Signal, testing::ValuesIn(engines()), engine_name);

}  // namespace
}  // namespace braid::test
