// What dispatch and combine must give, computed with plain loops from all ranks' inputs: no layout,
// no protocol, only the codecs' definitions.
#pragma once

#include <cstdint>
#include <vector>

#include "conformance/case.hpp"

namespace braid::conformance {

struct ExpectedRow {
  int source = 0;
  int token = 0;
};

// Rows of one expert, in order.
std::vector<ExpectedRow> rows_of(const std::vector<RankInput>& inputs, int expert);

// What no role may write, and a value that none may read. Bytes are alike in either, and compared
// as memory: a loop over values takes a sanitizer many times as long.
inline constexpr std::byte kPoison{0xA5};
inline constexpr std::uint16_t kNan = 0xFFFF;
bool is_poison(const std::byte* data, std::size_t bytes);

// A token's row as the format puts it on the wire.
struct EncodedRow {
  std::vector<std::byte> data, scales;
  bool operator==(const EncodedRow& other) const;
};
EncodedRow encoded(DispatchFormat format, const RankInput& input, int token);

// What an expert multiplies a channel by.
float factor_of(int expert, int channel);

// The stand-in for an expert: what a row that arrived becomes. Different for each expert and
// channel, so that a swapped expert or a shifted row shows.
std::vector<std::uint16_t> expert_output(DispatchFormat format, const EncodedRow& row, int expert);

// A rank's combined output, bit for bit.
std::vector<std::uint16_t> combined(const Case& c, const Topology& topology,
                                    const RankInput& input);

// The same in double, from the tokens as given: what one device would give.
std::vector<double> combined_on_one_device(const RankInput& input);

}  // namespace braid::conformance
