#include "gpu/rows_case.hpp"

#include <algorithm>
#include <cstring>
#include <thread>

#include "backend/cpu/roles.hpp"
#include "codec/bfloat16.hpp"
#include "codec/row.hpp"
#include "codec/rows.hpp"

namespace braid::gpu_test {
namespace {

// More tokens than a chunk has; an odd number of scale groups.
constexpr int kTokens = 70, kHidden = 384, kExperts = 16, kTopK = 4, kAlignment = 8;

std::int64_t data_bytes(const RowsCase& c) { return codec::dispatch_data_bytes(c.format, kHidden); }
std::int64_t scale_bytes(const RowsCase& c) {
  return codec::dispatch_scale_bytes(c.format, kHidden);
}

CaseShape input_shape(const RowsCase& c, std::uint32_t seed) {
  CaseShape shape;
  shape.num_ranks = c.num_ranks;
  shape.num_experts = kExperts;
  shape.max_tokens = shape.num_tokens = kTokens;
  shape.hidden = kHidden;
  shape.top_k = kTopK;
  shape.routing = seed % 2 == 0 ? Routing::kMasked : Routing::kRepeated;
  shape.seed = seed;
  return shape;
}

template <class T>
T* in(std::byte* block, const layout::Region& region) {
  return reinterpret_cast<T*>(block + region.offset);
}

// Finite rows, to be summed.
std::vector<std::uint16_t> finite_rows(const RowsCase& c, int rank, std::uint32_t seed) {
  auto rows = make_inputs(input_shape(c, seed))[static_cast<std::size_t>(rank)].x;
  std::replace(rows.begin(), rows.end(), codec::kBf16Infinity, std::uint16_t{0});
  return rows;
}

void fill(std::vector<std::byte>& block, const layout::Region& region, const void* from) {
  std::memcpy(block.data() + region.offset, from, static_cast<std::size_t>(region.bytes));
}

}  // namespace

layout::ThroughputShape RowsCase::buffer() const {
  layout::ThroughputShape shape;
  shape.num_ranks = num_ranks;
  shape.num_experts = kExperts;
  shape.max_tokens = kTokens;
  shape.hidden = kHidden;
  shape.top_k = kTopK;
  shape.expanded = expanded;
  shape.widest_dispatch = format;
  return shape;
}

std::int64_t RowsCase::num_rows() const {
  return expanded ? buffer().expanded_capacity(kAlignment) : buffer().row_capacity();
}

BlockSizes block_sizes(const RowsCase& c) {
  const auto local = layout::ThroughputLocalMap::of(c.buffer());
  return {c.num_ranks, layout::ThroughputMap::of(c.buffer()).total_bytes, local.total_bytes,
          local.active.offset};
}

RowsBlock RowsBlock::of(const RowsCase& c) {
  RowsBlock block;
  const auto place = [&block](std::int64_t bytes) {
    const layout::Region region{block.bytes, bytes};
    block.bytes = round_up(block.bytes + bytes, layout::kRegionAlignment);
    return region;
  };
  const layout::ThroughputShape shape = c.buffer();
  const std::int64_t rows = c.num_rows();
  constexpr std::int64_t kBf16Row = 2 * kHidden, kChoices = 4 * kTopK;
  block.x = place(kTokens * (c.given_encoded ? data_bytes(c) : kBf16Row));
  block.scales = place(c.given_encoded ? kTokens * scale_bytes(c) : 0);
  block.topk = place(kTokens * kChoices);
  block.weights = place(kTokens * kChoices);
  block.bias = place(kTokens * kBf16Row);
  block.y = place(rows * kBf16Row);
  block.out_x = place(rows * data_bytes(c));
  block.out_scales = place(rows * scale_bytes(c));
  block.out_topk = place(shape.row_capacity() * kChoices);
  block.out_experts = place(4 * rows);
  block.out_weights = place(shape.row_capacity() * kChoices);
  block.combined = place(kTokens * kBf16Row);
  block.combined_weights = place(kTokens * kChoices);
  block.record = place(layout::ReceivedMap::of(shape).stride);
  return block;
}

std::vector<std::byte> make_rows_block(const RowsCase& c, int rank, std::uint32_t seed) {
  const RowsBlock at = RowsBlock::of(c);
  std::vector<std::byte> block(static_cast<std::size_t>(at.bytes), std::byte{kPoison});
  const RankInput input = make_inputs(input_shape(c, seed))[static_cast<std::size_t>(rank)];
  if (c.given_encoded) {
    for (std::int64_t token = 0; token < kTokens; ++token) {
      codec::row_kernels().encode_dispatch(
          c.format, input.x.data() + token * kHidden, kHidden,
          block.data() + at.x.offset + token * data_bytes(c),
          block.data() + at.scales.offset + token * scale_bytes(c));
    }
  } else {
    fill(block, at.x, input.x.data());
  }
  fill(block, at.topk, input.topk.data());
  fill(block, at.weights, input.weights.data());
  fill(block, at.bias, finite_rows(c, rank, seed + 100).data());
  // Rows of the experts: those of other tokens, again and again.
  const std::vector<std::uint16_t> pool = finite_rows(c, rank, seed + 200);
  const auto pool_bytes = static_cast<std::int64_t>(2 * pool.size());
  for (std::int64_t done = 0; done < at.y.bytes; done += pool_bytes) {
    const std::int64_t count = min_of(pool_bytes, at.y.bytes - done);
    std::memcpy(block.data() + at.y.offset + done, pool.data(), static_cast<std::size_t>(count));
  }
  return block;
}

RowsArgs rows_args(const RowsCase& c, std::byte* block, std::byte* local) {
  const RowsBlock at = RowsBlock::of(c);
  RowsArgs args;
  const layout::ThroughputShape shape = c.buffer();
  const protocol::ThroughputArgs op{layout::ThroughputMap::of(shape),
                                    layout::ThroughputLocalMap::of(shape), local, 0};
  args.layout.op = op;
  args.layout.experts = {kExperts, c.num_ranks, 1};
  args.layout.topk = {in<std::int32_t>(block, at.topk), false, kTokens, kTopK, kExperts};
  args.layout.record = block + at.record.offset;
  args.layout.expert_alignment = kAlignment;
  args.layout.number = 1;

  protocol::RowsDispatchArgs& dispatch = args.dispatch;
  dispatch.op = op;
  dispatch.num_tokens = kTokens;
  dispatch.k = kTopK;
  dispatch.format = c.format;
  dispatch.x = block + at.x.offset;
  if (c.given_encoded) dispatch.scales = in<const float>(block, at.scales);
  dispatch.weights = in<const float>(block, at.weights);
  dispatch.in_region = c.in_region;
  dispatch.out_x = block + at.out_x.offset;
  dispatch.out_scales = block + at.out_scales.offset;
  dispatch.out_weights = in<float>(block, at.out_weights);
  dispatch.num_rows = c.num_rows();
  dispatch.expanded = c.expanded;
  if (c.expanded) {
    dispatch.out_experts = in<std::int32_t>(block, at.out_experts);
  } else {
    dispatch.out_topk_idx = block + at.out_topk.offset;
  }

  protocol::RowsCombineArgs& combine = args.combine;
  combine.op = op;
  combine.num_tokens = kTokens;
  combine.k = kTopK;
  combine.x = in<const std::uint16_t>(block, at.y);
  combine.weights = in<const float>(block, at.out_weights);
  combine.biases[0] = in<const std::uint16_t>(block, at.bias);
  combine.num_biases = 1;
  combine.out = in<std::uint16_t>(block, at.combined);
  combine.expanded = c.expanded;
  if (!c.expanded) combine.out_weights = in<float>(block, at.combined_weights);
  return args;
}

std::int64_t received_rows(const RowsCase& c, const std::vector<std::byte>& block) {
  const auto* sources =
      reinterpret_cast<const std::uint32_t*>(block.data() + RowsBlock::of(c).record.offset +
                                             layout::ReceivedMap::of(c.buffer()).sources_at);
  std::int64_t rows = 0;
  for (int source = 0; source < c.num_ranks; ++source) rows += sources[source];
  return rows;
}

std::vector<std::byte> rows_in_region(const RowsCase& c, const std::byte* symmetric, int passes,
                                      std::int64_t num_rows) {
  const auto map = layout::ThroughputMap::of(c.buffer());
  const int depth = (3 * passes + 2) % map.shape.depth;  // of the pass's second operation
  const std::byte* rows = symmetric + map.row(depth, 0, data_bytes(c));
  const std::byte* scales = symmetric + map.row_scales(depth, 0);
  std::vector<std::byte> all(rows, rows + num_rows * data_bytes(c));
  all.insert(all.end(), scales, scales + num_rows * scale_bytes(c));
  return all;
}

RowsReference::RowsReference(const RowsCase& c) : case_(c) {
  const BlockSizes sizes = block_sizes(c);
  SymmetricMemory memory;
  memory.bytes = static_cast<std::size_t>(sizes.symmetric_bytes);
  for (int rank = 0; rank < c.num_ranks; ++rank) {
    symmetric_.emplace_back(memory.bytes);
    locals_.push_back(fresh_local(sizes));
  }
  for (auto& block : symmetric_) memory.peers.push_back(block.data());
  for (int rank = 0; rank < c.num_ranks; ++rank) {
    memory.local = memory.peers[static_cast<std::size_t>(rank)];
    contexts_.push_back(std::make_unique<cpu::RankContext>(
        rank, layout::ThroughputMap::of(c.buffer()).control_map(), memory, std::int64_t{30000}));
  }
}

void RowsReference::run(std::vector<std::vector<std::byte>>& blocks) {
  std::vector<std::thread> ranks;
  for (std::size_t rank = 0; rank < blocks.size(); ++rank) {
    ranks.emplace_back(
        [this, rank, args = rows_args(case_, blocks[rank].data(), locals_[rank].data())] {
          cpu::run_layout(*contexts_[rank], args.layout, 0, 1);
          cpu::run_dispatch_rows(*contexts_[rank], args.dispatch, 0, 1);
          cpu::run_combine_rows(*contexts_[rank], args.combine, 0, 1);
        });
  }
  for (std::thread& rank : ranks) rank.join();
}

}  // namespace braid::gpu_test
