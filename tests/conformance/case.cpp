#include "conformance/case.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <random>
#include <set>
#include <tuple>

#include "codec/bfloat16.hpp"

namespace braid::conformance {
namespace {

// The factors of a case as indices, for the pairwise choice.
constexpr std::array<int, 7> kLevels = {2, 2, 4, 2, 3, 3, 2};
using Levels = std::array<int, 7>;

// Follows factors that neither the formats nor the rounds of a dispatch depend on, so that all
// cases have every format and every number of rounds in both layouts.
bool by_column(const Levels& levels) { return (levels[0] + levels[3] + levels[6]) % 2 == 1; }

// How combine is given its rows: all at once, round by round, in the buffer's region.
int rows_given(const Levels& levels) {
  if ((levels[0] + levels[5]) % 2 == 1) return 1;
  return (levels[1] + levels[3] + levels[4]) % 2 == 1 ? 2 : 0;
}

Case case_of(const Levels& levels) {
  constexpr int kRounds[] = {1, 2, 4};
  constexpr int kWorkers[] = {1, 3};
  Case c;
  c.fan_out = levels[0] == 0 ? FanOut::kPerRank : FanOut::kPerExpert;
  c.reduce = levels[1] == 0 ? Reduce::kTokenRank : Reduce::kExpertRank;
  c.dispatch = static_cast<DispatchFormat>(levels[2]);
  c.combine = static_cast<CombineFormat>(levels[3]);
  c.dispatch_rounds = kRounds[levels[4]];
  c.combine_rounds = kRounds[levels[5]];
  c.workers = kWorkers[levels[6]];
  // More factors follow the others instead of multiplying them.
  c.int64_idx = (levels[2] + levels[6]) % 2 == 1;
  c.rows_of_one_round = rows_given(levels) == 1;
  c.zero_copy = rows_given(levels) == 2;
  c.scales = by_column(levels) ? ScaleLayout::kColumnMajor : ScaleLayout::kRowMajor;
  return c;
}

std::vector<Levels> all_levels() {
  std::vector<Levels> all{Levels{}};
  for (std::size_t factor = 0; factor < kLevels.size(); ++factor) {
    std::vector<Levels> next;
    for (const Levels& levels : all) {
      for (int level = 0; level < kLevels[factor]; ++level) {
        next.push_back(levels);
        next.back()[factor] = level;
      }
    }
    all = next;
  }
  return all;
}

using Pair = std::tuple<std::size_t, int, std::size_t, int>;

std::set<Pair> pairs_of(const Levels& levels) {
  std::vector<int> all(levels.begin(), levels.end());
  all.push_back(by_column(levels) ? 1 : 0);
  all.push_back(rows_given(levels));
  std::set<Pair> pairs;
  for (std::size_t a = 0; a < all.size(); ++a) {
    for (std::size_t b = a + 1; b < all.size(); ++b) pairs.insert({a, all[a], b, all[b]});
  }
  return pairs;
}

// What tokens are cut from, each at its own place: to draw every value anew took most of a
// sanitizer's time, since each rank knows all ranks' tokens.
const std::vector<std::uint16_t>& token_values() {
  static const std::vector<std::uint16_t> values = [] {
    std::mt19937_64 random(1);
    std::normal_distribution<float> normal;
    std::vector<std::uint16_t> drawn(1 << 16);
    for (std::uint16_t& value : drawn) value = codec::float_to_bf16(normal(random));
    return drawn;
  }();
  return values;
}

}  // namespace

const char* to_string(Routing routing) {
  switch (routing) {
    case Routing::kRandom: return "random";
    case Routing::kEmptyRanks: return "empty_ranks";
    case Routing::kOneExpert: return "one_expert";
    case Routing::kMasked: return "masked";
    case Routing::kRepeated: return "repeated";
    case Routing::kOneToken: return "one_token";
    case Routing::kFull: return "full";
  }
  return "unknown";
}

std::string Case::name() const {
  return fmt::format(
      "{}/{}/{}/scales_by_{}/{}/dispatch_rounds={}/combine_rounds={}/workers={}/{}{}",
      braid::to_string(fan_out), braid::to_string(reduce), braid::to_string(dispatch),
      braid::to_string(scales), braid::to_string(combine), dispatch_rounds, combine_rounds, workers,
      int64_idx ? "i64" : "i32",
      rows_of_one_round ? "/rows_of_one_round"
      : zero_copy       ? "/zero_copy"
                        : "");
}

std::vector<Case> all_cases() {
  std::vector<Case> cases;
  for (const Levels& levels : all_levels()) cases.push_back(case_of(levels));
  return cases;
}

std::vector<Case> pairwise_cases() {
  // Greedy: always the combination that covers the most pairs not yet covered.
  const std::vector<Levels> all = all_levels();
  std::set<Pair> missing;
  for (const Levels& levels : all) missing.merge(pairs_of(levels));
  std::vector<Case> cases;
  while (!missing.empty()) {
    const auto gain = [&missing](const Levels& levels) {
      const auto pairs = pairs_of(levels);
      return std::count_if(pairs.begin(), pairs.end(),
                           [&](const Pair& pair) { return missing.count(pair) > 0; });
    };
    const Levels best =
        *std::max_element(all.begin(), all.end(),
                          [&gain](const Levels& a, const Levels& b) { return gain(a) < gain(b); });
    for (const Pair& pair : pairs_of(best)) missing.erase(pair);
    cases.push_back(case_of(best));
  }
  return cases;
}

std::vector<Case> cases_of_this_build() {
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
  return pairwise_cases();
#else
  return all_cases();
#endif
}

RankInput input_of(const Topology& topology, Routing routing, int rank, std::uint64_t seed) {
  return input_of({topology, routing, seed, kMaxTokens}, rank);
}

RankInput input_of(const InputSpec& spec, int rank) {
  const auto& [topology, routing, seed, max_tokens] = spec;
  std::mt19937_64 random(seed * 1000003 + static_cast<std::uint64_t>(rank) * 7919 +
                         static_cast<std::uint64_t>(routing));
  const auto below = [&random](int end) {
    return static_cast<int>(random() % static_cast<std::uint64_t>(end));
  };
  const int num_experts = topology.num_ranks * kLocalExperts;
  RankInput input;
  input.num_tokens = below(max_tokens + 1);
  if (routing == Routing::kFull || routing == Routing::kOneExpert) input.num_tokens = max_tokens;
  if (routing == Routing::kEmptyRanks && rank % 2 == 1) input.num_tokens = 0;
  if (routing == Routing::kOneToken) {
    input.num_tokens = rank == static_cast<int>(seed) % topology.num_ranks ? 1 : 0;
  }
  const int only = static_cast<int>(seed % static_cast<std::uint64_t>(num_experts));
  const std::vector<std::uint16_t>& values = token_values();
  for (int token = 0; token < input.num_tokens; ++token) {
    const auto first = values.begin() + below(static_cast<int>(values.size()) - kHidden);
    input.x.insert(input.x.end(), first, first + kHidden);
  }
  for (int token = 0; token < input.num_tokens; ++token) {
    std::vector<int> experts(static_cast<std::size_t>(num_experts));
    for (int e = 0; e < num_experts; ++e) experts[static_cast<std::size_t>(e)] = e;
    std::shuffle(experts.begin(), experts.end(), random);
    for (int choice = 0; choice < kTopK; ++choice) {
      int expert = experts[static_cast<std::size_t>(choice)];
      if (routing == Routing::kOneExpert) expert = choice == token % kTopK ? only : -1;
      if (routing == Routing::kMasked) expert = -1;
      if (routing == Routing::kRepeated && choice > 0 && below(2) == 0) {
        expert =
            input.topk_idx[input.topk_idx.size() - 1 - static_cast<std::size_t>(below(choice))];
      }
      if (routing != Routing::kFull && routing != Routing::kOneExpert && below(5) == 0) expert = -1;
      input.topk_idx.push_back(expert);
      input.weights.push_back(static_cast<float>(below(1000) + 1) / 700.0F);
    }
  }
  return input;
}

BufferOptions buffer_options(const Topology& topology) {
  BufferOptions options;
  options.num_experts = topology.num_ranks * kLocalExperts;
  options.max_tokens = kMaxTokens;
  options.hidden = kHidden;
  options.top_k = kTopK;
  options.max_rounds = 4;
  options.handle_slots = 3;
  options.allow_per_expert = true;
  options.combine_regions = true;
  options.few_tokens = kMaxTokens / 2;  // some ranks have few, others more
  return options;
}

}  // namespace braid::conformance
