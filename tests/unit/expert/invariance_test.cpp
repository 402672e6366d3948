// A row's bits depend on the row and its expert alone.
#include <algorithm>
#include <map>
#include <numeric>
#include <random>

#include "unit/expert/ffn_fixture.hpp"

namespace braid::test {
namespace {

using Bits = std::vector<std::byte>;

// Which of the pool's rows stand where: chosen[e][place].
using Choice = std::vector<std::vector<int>>;

struct Setup {
  LayerSpec layer;
  DispatchFormat format = DispatchFormat::kBf16;
  int pool = 80;                                      // different rows
  ScaleLayout scale_layout = ScaleLayout::kRowMajor;  // where rows are not alone
};

class Experiment {
 public:
  Experiment(const Setup& setup, ExpertEngine engine)
      : setup_(setup),
        engine_(engine),
        layer_(setup.layer),
        pool_(random_rows(setup.format, setup.layer.hidden, setup.pool)) {
    // The reference: every row alone.
    const ExpertFfn ffn(layer_.weights(), {.engine = engine});
    for (int expert = 0; expert < setup.layer.num_experts; ++expert) {
      for (int row = 0; row < setup.pool; ++row) {
        Choice alone(static_cast<std::size_t>(setup.layer.num_experts));
        alone[static_cast<std::size_t>(expert)] = {row};
        const PackedRows packed = pack(alone, 1);
        Output out(DType::kFloat32, 1, 1, setup.layer.hidden);
        ffn.run(packed.input(), out.view(expert), {.begin = expert, .end = expert + 1});
        expected_[{expert, row}] = out.bits(0, 0);
      }
    }
  }

  // Runs the choice in `rounds` ranges, each into an output of its own.
  void check(const Choice& choice, std::int64_t capacity, int rounds, ExpertOptions options,
             int num_workers) const {
    options.engine = engine_;
    const ExpertFfn ffn(layer_.weights(), options);
    PackedRows packed = pack(choice, capacity);
    packed.set_scale_layout(setup_.scale_layout);
    const int per_round = setup_.layer.num_experts / rounds;
    for (int round = 0; round < rounds; ++round) {
      const int first = round * per_round;
      Output out(DType::kFloat32, per_round, capacity, setup_.layer.hidden);
      ffn.run(packed.input(), out.view(first),
              {.begin = first, .end = first + per_round, .num_workers = num_workers});
      for (int expert = first; expert < first + per_round; ++expert) {
        const auto& rows = choice[static_cast<std::size_t>(expert)];
        for (int place = 0; place < std::ssize(rows); ++place) {
          const int row = rows[static_cast<std::size_t>(place)];
          ASSERT_EQ(out.bits(expert - first, place), expected_.at({expert, row}))
              << "expert " << expert << ", row " << row << " at place " << place << ", " << rounds
              << " rounds, " << num_workers << " workers";
        }
      }
    }
  }

  Choice random_choice(std::mt19937& engine, int capacity) const {
    Choice choice;
    for (int expert = 0; expert < setup_.layer.num_experts; ++expert) {
      const int count = std::uniform_int_distribution<int>(0, capacity)(engine);
      std::vector<int> rows(static_cast<std::size_t>(count));
      for (int& row : rows) row = std::uniform_int_distribution<int>(0, setup_.pool - 1)(engine);
      choice.push_back(rows);
    }
    return choice;
  }

 private:
  PackedRows pack(const Choice& choice, std::int64_t capacity) const {
    std::vector<std::vector<const Row*>> places;
    for (const auto& rows : choice) {
      places.emplace_back();
      for (const int row : rows) places.back().push_back(&pool_[static_cast<std::size_t>(row)]);
    }
    return PackedRows(setup_.format, setup_.layer.hidden, capacity, places);
  }

  Setup setup_;
  ExpertEngine engine_;
  Layer layer_;
  std::vector<Row> pool_;
  std::map<std::pair<int, int>, Bits> expected_;
};

using Invariance = EngineTest;

TEST_P(Invariance, AnyRowsAnywhereInAnyRoundsByAnyWorkers) {
  const Experiment experiment({.layer = {.num_experts = 4, .hidden = 264, .width = 136}},
                              GetParam());
  std::mt19937 random(7);
  for (int repeat = 0; repeat < 12; ++repeat) {
    const Choice choice = experiment.random_choice(random, 100);
    for (const int rounds : {1, 2, 4}) {
      for (const int num_workers : {1, 3}) {
        const int wave_blocks = repeat % 5 + 1;
        experiment.check(choice, 100, rounds, {.wave_blocks = wave_blocks}, num_workers);
      }
    }
  }
}

TEST_P(Invariance, EveryPlaceInABlock) {
  const Experiment experiment({.layer = {.num_experts = 1, .hidden = 512, .width = 96}},
                              GetParam());
  std::vector<int> rows(64);
  std::iota(rows.begin(), rows.end(), 0);
  for (int shift = 0; shift < 32; ++shift) {
    std::rotate(rows.begin(), rows.begin() + 1, rows.end());
    experiment.check({rows}, 64, 1, {}, 1);
  }
}

TEST_P(Invariance, QuantizedRowsAndWeights) {
  const Experiment experiment({.layer = {.num_experts = 2,
                                         .hidden = 384,
                                         .width = 200,
                                         .dtype = DType::kFloat8E4M3,
                                         .block = 128},
                               .format = DispatchFormat::kFp8Ue8m0},
                              GetParam());
  std::mt19937 random(8);
  for (int repeat = 0; repeat < 4; ++repeat) {
    experiment.check(experiment.random_choice(random, 70), 70, 2, {}, 3);
  }
}

TEST_P(Invariance, ScalesByRowOrByColumn) {
  std::mt19937 random(10);
  for (const DispatchFormat format : {DispatchFormat::kFp8, DispatchFormat::kFp8Ue8m0}) {
    const Experiment experiment({.layer = {.num_experts = 3, .hidden = 640, .width = 64},
                                 .format = format,
                                 .pool = 20,
                                 .scale_layout = ScaleLayout::kColumnMajor},
                                GetParam());
    experiment.check(experiment.random_choice(random, 40), 40, 3, {}, 2);
  }
}

// So many channels that a library would cut the sums into pieces.
TEST_P(Invariance, SumsOverADeepSeekRow) {
  const Experiment experiment(
      {.layer = {.num_experts = 1, .hidden = 7168, .width = 64}, .pool = 20}, GetParam());
  std::mt19937 random(9);
  for (int repeat = 0; repeat < 3; ++repeat) {
    experiment.check(experiment.random_choice(random, 60), 60, 1, {}, 2);
  }
}

INSTANTIATE_TEST_SUITE_P(Engines, Invariance, testing::ValuesIn(engines()), engine_name);

}  // namespace
}  // namespace braid::test
