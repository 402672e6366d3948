// A layout, a dispatch and a combine of high throughput between ranks, small: input by rank, and
// what the CPU machine makes of it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "backend/cpu/rank_context.hpp"
#include "gpu/role_case.hpp"
#include "layout/throughput.hpp"
#include "protocol/args.hpp"

namespace braid::gpu_test {

struct RowsCase {
  const char* name = "";
  DispatchFormat format = DispatchFormat::kBf16;
  bool given_encoded = false;  // FP8 tokens
  bool in_region = false;      // rows stay where they arrive
  bool expanded = false;       // rows by expert
  int num_ranks = 2;

  layout::ThroughputShape buffer() const;
  std::int64_t num_rows() const;  // of the outputs
};

// A rank's inputs and outputs one behind another in one block, in any memory.
struct RowsBlock {
  layout::Region x, scales, topk, weights, bias, y;
  layout::Region out_x, out_scales, out_topk, out_experts, out_weights, combined, combined_weights;
  layout::Region record;
  std::int64_t bytes = 0;

  static RowsBlock of(const RowsCase& c);
};

// Its inputs, and kPoison where nothing was written yet.
std::vector<std::byte> make_rows_block(const RowsCase& c, int rank, std::uint32_t seed);

struct RowsArgs {
  protocol::LayoutArgs layout;
  protocol::RowsDispatchArgs dispatch;
  protocol::RowsCombineArgs combine;
};
RowsArgs rows_args(const RowsCase& c, std::byte* block, std::byte* local);

BlockSizes block_sizes(const RowsCase& c);

// The rows and scales that the pass's dispatch, of so many before it, left in a symmetric block.
std::vector<std::byte> rows_in_region(const RowsCase& c, const std::byte* symmetric, int passes,
                                      std::int64_t num_rows);
// How many a layout found to come, from its record in the block.
std::int64_t received_rows(const RowsCase& c, const std::vector<std::byte>& block);

// The ranks as threads on the CPU machine; they keep their blocks from pass to pass.
class RowsReference {
 public:
  explicit RowsReference(const RowsCase& c);
  // One pass of all ranks, in each one's block of inputs and outputs.
  void run(std::vector<std::vector<std::byte>>& blocks);
  const std::byte* symmetric(int rank) const {
    return symmetric_[static_cast<std::size_t>(rank)].data();
  }

 private:
  RowsCase case_;
  std::vector<std::vector<std::byte>> symmetric_, locals_;
  std::vector<std::unique_ptr<cpu::RankContext>> contexts_;
};

}  // namespace braid::gpu_test
