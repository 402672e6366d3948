// The layer of a run, the tokens to run it on, and what should come out.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "app/options.hpp"
#include "model/layer.hpp"

namespace braid::app {

struct LayerCase {
  model::MoeLayer layer;
  LayerShape shape;
  std::int64_t num_tokens = 0;
  std::vector<std::uint16_t> hidden_states;  // BF16 [num_tokens, hidden]
  std::vector<float> expected;               // [num_tokens, hidden]; empty: nobody said
  std::string reference;                     // who computed `expected`
};

// Loads what `options` names and checks that the run is possible. Throws kInvalidArgument, kFormat
// or kMissing. Without inputs in the directory: random tokens from the seed.
LayerCase load_case(const RunOptions& options);

}  // namespace braid::app
