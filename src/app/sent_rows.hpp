// What a rank of high throughput's bench is to receive, byte by byte, from what all ranks send.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "app/bench_case.hpp"

namespace braid::app {

// Tokens as they are sent; of BF16 without scales.
struct EncodedTokens {
  std::vector<std::byte> data, scales;
  std::size_t data_bytes, scale_bytes;  // of a row
};
EncodedTokens encode(DispatchFormat format, int hidden, const std::vector<std::uint16_t>& tokens);

// By source: the rows one after another, then their scales. By expert: of each row its local
// expert, int32 and -1 of padding; then the rows that are none, and their scales.
std::string sent_rows(const BenchOptions& options, const BenchCase& bench, int rank, int set);

// The same of what a rank has received by expert. Rows and scales are as long as `experts`; scales
// may be empty.
std::string rows_by_expert(const std::vector<std::int32_t>& experts, const std::string& rows,
                           const std::string& scales);

}  // namespace braid::app
