#include <cstring>

#include "base/check.hpp"
#include "braid/two_batch.hpp"

namespace braid {
namespace {

std::size_t row_bytes(const Tensor& rows) {
  std::size_t bytes = element_bytes(rows.dtype);
  for (int axis = 1; axis < rows.rank; ++axis) bytes *= static_cast<std::size_t>(rows.dim(axis));
  return bytes;
}

void check(const Tensor& whole, const PaddedSizes& sizes, const std::array<Tensor, 2>& parts) {
  for (std::size_t i = 0; i < 2; ++i) {
    const Tensor& part = parts[i];
    require(
        part.dtype == whole.dtype && part.rank == whole.rank && row_bytes(part) == row_bytes(whole),
        "micro-batch {} has rows of another type or shape than the whole batch", i);
    require(part.dim(0) == sizes.padded[i], "micro-batch {} has {} rows, but must have {}", i,
            part.dim(0), sizes.padded[i]);
  }
  require(sizes.tokens[0] + sizes.tokens[1] <= whole.dim(0),
          "the micro-batches have {} and {} tokens, but the whole batch has {} rows",
          sizes.tokens[0], sizes.tokens[1], whole.dim(0));
}

std::byte* row(const Tensor& rows, std::int64_t index) {
  return rows.as<std::byte>() + static_cast<std::size_t>(index) * row_bytes(rows);
}

// Sets rows [from, end) to zero.
void clear(const Tensor& rows, std::int64_t from) {
  const auto count = static_cast<std::size_t>(rows.dim(0) - from);
  if (count > 0) std::memset(row(rows, from), 0, count * row_bytes(rows));
}

}  // namespace

void split_rows(const Tensor& whole, const PaddedSizes& sizes, const std::array<Tensor, 2>& parts) {
  check(whole, sizes, parts);
  std::int64_t from = 0;
  for (std::size_t i = 0; i < 2; ++i) {
    const std::size_t bytes = static_cast<std::size_t>(sizes.tokens[i]) * row_bytes(whole);
    if (bytes > 0) std::memcpy(row(parts[i], 0), row(whole, from), bytes);
    clear(parts[i], sizes.tokens[i]);
    from += sizes.tokens[i];
  }
}

void merge_rows(const std::array<Tensor, 2>& parts, const PaddedSizes& sizes, const Tensor& whole) {
  check(whole, sizes, parts);
  std::int64_t to = 0;
  for (std::size_t i = 0; i < 2; ++i) {
    const std::size_t bytes = static_cast<std::size_t>(sizes.tokens[i]) * row_bytes(whole);
    if (bytes > 0) std::memcpy(row(whole, to), row(parts[i], 0), bytes);
    to += sizes.tokens[i];
  }
  clear(whole, to);
}

}  // namespace braid
