// A whole MoE layer on one rank, dense and in float32: what every distributed run is held against.
//
// Plain loops over the stored weights, written to be read: nothing here is shared with the code
// that it checks but the formats' decoders. Inner products are summed in float32 (dot.hpp), a
// token's expert outputs in the order of its choices, the shared expert last. Results are the same
// bits for every number of threads, and a token's row does not depend on the other tokens.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "model/layer.hpp"
#include "model/router.hpp"

namespace braid::model {

struct ReferenceOptions {
  // What the routed experts see of a token's BF16 row, written to `seen`, where dispatch rounds
  // it; none: the row itself. The router and the shared expert always see the row itself. Called
  // from several threads at once.
  std::function<void(const std::uint16_t* row, std::int64_t hidden, float* seen)> round_row =
      nullptr;
  // Routes to use in place of the router's: [num_tokens, any top_k], repeated experts allowed.
  const Routes* routes = nullptr;
  int num_threads = 0;  // 0: as many as cores
};

// hidden_states: BF16 [num_tokens, hidden]. Returns [num_tokens, hidden]. Throws kInvalidArgument
// for given routes that don't fit the layer, naming token and value.
std::vector<float> compute_reference(const MoeLayer& layer, const std::uint16_t* hidden_states,
                                     std::int64_t num_tokens, const ReferenceOptions& options = {});

}  // namespace braid::model
