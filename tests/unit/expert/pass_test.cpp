// A call in three steps does what run() does in one.
#include "expert/pass.hpp"

#include <algorithm>
#include <atomic>
#include <functional>
#include <mutex>
#include <set>
#include <stdexcept>
#include <thread>

#include "braid/error.hpp"
#include "unit/expert/ffn_fixture.hpp"

namespace braid::test {
namespace {

struct PassSetup {
  static constexpr int kExperts = 4;
  static constexpr int kHidden = 256;
  static constexpr int kCapacity = 70;

  explicit PassSetup(const std::vector<int>& counts, DispatchFormat format = DispatchFormat::kBf16)
      : rows(random_rows(format, kHidden, kCapacity)), packed(pack(counts, format)) {}

  PackedRows pack(const std::vector<int>& counts, DispatchFormat format) const {
    std::vector<std::vector<const Row*>> places;
    for (const int count : counts) {
      places.emplace_back();
      for (int i = 0; i < count; ++i) places.back().push_back(&rows[static_cast<std::size_t>(i)]);
    }
    return PackedRows(format, kHidden, kCapacity, places);
  }
  static Output output() { return Output(DType::kFloat32, kExperts, kCapacity, kHidden); }

  Layer layer{{.num_experts = kExperts, .hidden = kHidden, .width = 168}};
  std::vector<Row> rows;
  PackedRows packed;
};

using Pass = EngineTest;

TEST_P(Pass, HasTheBitsOfOneRun) {
  const std::vector<std::vector<int>> all_counts{
      {0, 0, 0, 0}, {1, 0, 32, 33}, {70, 70, 70, 70}, {0, 5, 64, 0}};
  for (const auto format : {DispatchFormat::kBf16, DispatchFormat::kFp8}) {
    for (const std::vector<int>& counts : all_counts) {
      const PassSetup setup(counts, format);
      const ExpertFfn ffn(setup.layer.weights(), {.engine = GetParam(), .wave_blocks = 2});
      for (const ExpertRange range : {ExpertRange{0, 4}, ExpertRange{1, 3}, ExpertRange{2, 2}}) {
        Output expected = PassSetup::output();
        ffn.run(setup.packed.input(), expected.view(), {.begin = range.begin, .end = range.end});
        Output out = PassSetup::output();
        ExpertPass pass(ffn, setup.packed.input(), out.view(), range);
        // More workers in a later step than in the first.
        pass.up(1);
        pass.activate(3);
        pass.down(2);
        for (int expert = 0; expert < PassSetup::kExperts; ++expert) {
          for (int row = 0; row < PassSetup::kCapacity; ++row) {
            ASSERT_EQ(out.bits(expert, row), expected.bits(expert, row))
                << "expert " << expert << ", row " << row << " of the range [" << range.begin
                << ", " << range.end << ")";
          }
        }
      }
    }
  }
}

TEST_P(Pass, SignalsEachBlockOnceAfterAllItsRows) {
  const std::vector<int> counts{70, 0, 32, 1};
  const PassSetup setup(counts);
  const ExpertFfn ffn(setup.layer.weights(), {.engine = GetParam(), .block_rows = 16});
  Output expected = PassSetup::output();
  ffn.run(setup.packed.input(), expected.view(), {.begin = 0, .end = 4});
  Output out = PassSetup::output();
  std::mutex mutex;
  std::multiset<std::pair<int, int>> seen;
  std::atomic<int> wrong_rows = 0;
  ExpertPass pass(ffn, setup.packed.input(), out.view(), {0, 4});
  pass.up(2);
  pass.activate(2);
  EXPECT_TRUE(seen.empty());
  pass.down(3, [&](int expert, int block) {
    const int end = std::min(block * 16 + 16, counts[static_cast<std::size_t>(expert)]);
    for (int row = block * 16; row < end; ++row) {
      if (out.bits(expert, row) != expected.bits(expert, row)) ++wrong_rows;
    }
    const std::lock_guard lock(mutex);
    seen.insert({expert, block});
  });
  EXPECT_EQ(wrong_rows, 0);
  EXPECT_EQ(seen, (std::multiset<std::pair<int, int>>{
                      {0, 0}, {0, 1}, {0, 2}, {0, 3}, {0, 4}, {2, 0}, {2, 1}, {3, 0}}));
}

// As behind a dispatch whose receive comes after the pass was made; and as lanes call its steps.
TEST_P(Pass, ReadsCountsInItsFirstStepAndGoesFromThreadToThread) {
  const PassSetup setup({40, 3, 0, 9});
  const ExpertFfn ffn(setup.layer.weights(), {.engine = GetParam()});
  Output expected = PassSetup::output();
  ffn.run(setup.packed.input(), expected.view(), {.begin = 0, .end = 4});

  std::vector<std::int32_t> counts(4, -1);  // no count yet
  ExpertInput input = setup.packed.input();
  const std::int32_t* written = input.counts;
  input.counts = counts.data();
  Output out = PassSetup::output();
  ExpertPass pass(ffn, input, out.view(), {0, 4});
  std::copy_n(written, 4, counts.begin());
  for (const auto& step : std::vector<std::function<void()>>{
           [&] { pass.up(2); }, [&] { pass.activate(1); }, [&] { pass.down(2); }}) {
    std::thread(step).join();
  }
  for (int row = 0; row < 40; ++row) EXPECT_EQ(out.bits(0, row), expected.bits(0, row));
  for (int row = 0; row < 9; ++row) EXPECT_EQ(out.bits(3, row), expected.bits(3, row));
}

TEST_P(Pass, SharesTheObjectWithOtherPassesAndRuns) {
  const PassSetup setup({33, 70, 2, 0});
  const ExpertFfn ffn(setup.layer.weights(), {.engine = GetParam(), .wave_blocks = 1});
  Output expected = PassSetup::output();
  ffn.run(setup.packed.input(), expected.view(), {.begin = 0, .end = 4});
  Output first = PassSetup::output();
  Output second = PassSetup::output();
  Output whole = PassSetup::output();
  ExpertPass low(ffn, setup.packed.input(), first.view(), {0, 1});
  ExpertPass high(ffn, setup.packed.input(), second.view(), {1, 4});
  low.up(1);
  high.up(2);
  ffn.run(setup.packed.input(), whole.view(), {.begin = 0, .end = 4});
  high.activate(2);
  low.activate(1);
  low.down(2);
  high.down(1);
  for (int row = 0; row < 33; ++row) EXPECT_EQ(first.bits(0, row), expected.bits(0, row));
  for (int row = 0; row < 70; ++row) EXPECT_EQ(second.bits(1, row), expected.bits(1, row));
  for (int row = 0; row < 70; ++row) EXPECT_EQ(whole.bits(1, row), expected.bits(1, row));
}

TEST_P(Pass, AnExceptionEndsItAndTheNextPassIsWhole) {
  const PassSetup setup({33, 70, 2, 0});
  const ExpertFfn ffn(setup.layer.weights(), {.engine = GetParam()});
  Output out = PassSetup::output();
  {
    ExpertPass pass(ffn, setup.packed.input(), out.view(), {0, 4});
    pass.up(1);
    pass.activate(1);
    EXPECT_THROW(pass.down(2, [](int, int) { throw std::runtime_error("stop"); }),
                 std::runtime_error);
    EXPECT_THROW(pass.down(2), Error);
  }
  ExpertPass pass(ffn, setup.packed.input(), out.view(), {0, 4});
  pass.up(1);
  pass.activate(1);
  std::atomic<int> calls = 0;
  pass.down(2, [&](int, int) { ++calls; });
  EXPECT_EQ(calls, 2 + 3 + 1);
}

INSTANTIATE_TEST_SUITE_P(Engines, Pass, testing::ValuesIn(engines()), engine_name);

void expect_error(ErrorCode code, const std::string& sentence, const std::function<void()>& call) {
  try {
    call();
    ADD_FAILURE() << "not refused: " << sentence;
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), code);
    EXPECT_EQ(error.what(), sentence);
  }
}

TEST(PassRefusal, StepsOutOfOrder) {
  const PassSetup setup({1, 1, 1, 1});
  const ExpertFfn ffn(setup.layer.weights());
  Output out = PassSetup::output();
  ExpertPass pass(ffn, setup.packed.input(), out.view(), {0, 4});
  const auto expect_refused = [](const std::string& sentence, const std::function<void()>& call) {
    expect_error(ErrorCode::kRefused, sentence, call);
  };
  expect_refused("the pass's next step is up, but activate was called", [&] { pass.activate(1); });
  expect_refused("the pass's next step is up, but down was called", [&] { pass.down(1); });
  pass.up(1);
  expect_refused("the pass's next step is activate, but up was called", [&] { pass.up(1); });
  pass.activate(1);
  pass.down(1);
  expect_refused("the pass has ended, but down was called", [&] { pass.down(1); });
}

TEST(PassRefusal, ArgumentsAndThenTheStepIsStillToCome) {
  const PassSetup setup({1, 1, 1, 1});
  const ExpertFfn ffn(setup.layer.weights());
  Output out = PassSetup::output();
  const auto expect_refused = [](const std::string& sentence, const std::function<void()>& call) {
    expect_error(ErrorCode::kInvalidArgument, sentence, call);
  };
  expect_refused("the range of experts is [0, 5), but must lie in [0, 4)", [&] {
    ExpertPass pass(ffn, setup.packed.input(), out.view(), {0, 5});
  });
  std::vector<std::int32_t> counts{1, 71, 1, 1};
  ExpertInput input = setup.packed.input();
  input.counts = counts.data();
  ExpertPass pass(ffn, input, out.view(), {0, 4});
  expect_refused("the count of local expert 1 is 71, but must be from 0 to row_capacity 70",
                 [&] { pass.up(1); });
  counts[1] = 1;
  expect_refused("num_workers is 0, but must be at least 1", [&] { pass.up(0); });
  pass.up(1);
  expect_refused("num_workers is -1, but must be at least 1", [&] { pass.activate(-1); });
  pass.activate(1);
  pass.down(1);
}

}  // namespace
}  // namespace braid::test
