// What high throughput must give, computed with plain loops from all ranks' inputs: no layout, no
// protocol, only the codecs' definitions.
#pragma once

#include <cstdint>
#include <vector>

#include "conformance/oracle.hpp"

namespace braid::conformance {

// The ranks of a token's experts, ascending.
std::vector<int> ranks_of_token(const RankInput& input, int token);

// A rank's received rows, in order.
std::vector<ExpectedRow> received_rows(const std::vector<RankInput>& inputs, int rank);

// How many of the rows name each local expert of the rank, rounded up.
std::vector<std::int64_t> rows_per_expert(const std::vector<RankInput>& inputs, int rank,
                                          int alignment);

// A received row's choices: a local expert of the rank, or -1.
std::vector<std::int32_t> local_choices(const RankInput& input, int token, int rank);

// What a rank does to a token's row between dispatch and combine.
std::vector<std::uint16_t> rank_output(DispatchFormat format, const EncodedRow& row, int rank);

// The biases of a rank's tokens, [n, H].
std::vector<std::uint16_t> bias_of(const RankInput& input, int bias);

// A rank's combined output where every rank does rank_output, bit for bit.
std::vector<std::uint16_t> combined_rows(DispatchFormat format, const RankInput& input,
                                         int num_biases);

// The weights that a rank sends home with a row: of `choice`, whatever it names.
float returned_weight(int rank, float weight, int choice);
std::vector<float> combined_weights(const RankInput& input);

}  // namespace braid::conformance
