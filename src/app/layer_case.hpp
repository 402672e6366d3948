// The layer of a run, the tokens to run it on, and what should come out.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "app/options.hpp"
#include "base/math.hpp"
#include "model/layer.hpp"

namespace braid::app {

struct LayerCase {
  model::MoeLayer layer;
  LayerShape shape;
  std::int64_t num_tokens = 0;
  std::vector<std::uint16_t> hidden_states;  // BF16 [num_tokens, hidden]
  std::vector<float> expected;               // [num_tokens, hidden]; empty: nobody said
  std::string reference;                     // who computed `expected`

  // A rank's part of `ranks`. They share the tokens in order, the first ranks one more where they
  // don't divide.
  Range tokens_of(int rank, int ranks) const { return share_of(num_tokens, rank, ranks); }
  int max_tokens(int ranks) const {
    return static_cast<int>(ceil_div<std::int64_t>(num_tokens, ranks));
  }
  Tensor x_of(int rank, int ranks) const;  // [n, hidden]; to be read
  std::vector<ExpertWeights> experts_of(int rank, int ranks) const;
};

// Loads what `options` names and checks that the run is possible. Throws kInvalidArgument, kFormat
// or kMissing. Without inputs in the directory: random tokens from the seed.
LayerCase load_case(const RunOptions& options);

}  // namespace braid::app
