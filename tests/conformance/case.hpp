// The cases of the conformance suite: one list for every backend.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "braid/buffer.hpp"

namespace braid::conformance {

inline constexpr int kHidden = 256;
inline constexpr int kLocalExperts = 4;  // divides by 1, 2 and 4 rounds
inline constexpr int kTopK = 4;
inline constexpr int kMaxTokens = 12;

enum class Routing {
  kRandom,      // different counts on each rank, some choices -1
  kEmptyRanks,  // odd ranks have no token
  kOneExpert,   // every token of every rank names one expert, and nothing else
  kMasked,      // no token has any route
  kRepeated,    // tokens name an expert twice or more
  kOneToken,    // one token in the whole group
  kFull,        // every rank has all its tokens, every choice is a route
};
inline constexpr Routing kRoutings[] = {Routing::kRandom, Routing::kEmptyRanks, Routing::kOneExpert,
                                        Routing::kMasked, Routing::kRepeated,   Routing::kOneToken,
                                        Routing::kFull};
const char* to_string(Routing routing);

struct Case {
  FanOut fan_out = FanOut::kPerRank;
  Reduce reduce = Reduce::kTokenRank;
  DispatchFormat dispatch = DispatchFormat::kBf16;
  CombineFormat combine = CombineFormat::kBf16;
  int dispatch_rounds = 1;
  int combine_rounds = 1;
  int workers = 1;
  bool int64_idx = false;
  bool rows_of_one_round = false;
  bool zero_copy = false;  // experts write into the handle's combine region
  ScaleLayout scales = ScaleLayout::kRowMajor;
  std::string name() const;
};

// All combinations, or a subset in which every pair of values of two factors occurs.
std::vector<Case> all_cases();
std::vector<Case> pairwise_cases();

// All where the build is fast, pairwise under a sanitizer.
std::vector<Case> cases_of_this_build();

// One rank's tokens and routes, the same for every caller with the same arguments.
struct RankInput {
  int num_tokens = 0;
  std::vector<std::uint16_t> x;        // [n, H] bf16
  std::vector<std::int32_t> topk_idx;  // [n, k]
  std::vector<float> weights;          // [n, k]
};
RankInput input_of(const Topology& topology, Routing routing, int rank, std::uint64_t seed);

// The same with another number of tokens.
struct InputSpec {
  Topology topology;
  Routing routing = Routing::kRandom;
  std::uint64_t seed = 0;
  int max_tokens = kMaxTokens;
};
RankInput input_of(const InputSpec& spec, int rank);

// The buffer that takes every case.
BufferOptions buffer_options(const Topology& topology);

}  // namespace braid::conformance
