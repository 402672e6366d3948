#include "backend/cuda/block_args.hpp"

#include "backend/cuda/block_constants.hpp"
#include "backend/cuda/block_kernels.hpp"

namespace braid::cuda {
namespace {

bool is_aligned(const void* address) { return reinterpret_cast<std::uintptr_t>(address) % 16 == 0; }

layout::MessageShape message_of(const protocol::DispatchArgs& args) {
  return layout::MessageShape::of(args.format, args.op.map.shape.hidden);
}

DispatchBlockMap map_of(const protocol::DispatchArgs& args) {
  return DispatchBlockMap::of(args.rules.experts.num_experts, args.rules.experts.num_ranks,
                              args.topk.k, message_of(args).payload_bytes(), kRingRows);
}

CombineBlockMap map_of(const protocol::CombineArgs& args) {
  return CombineBlockMap::of(2 * std::int64_t{args.op.map.shape.hidden}, args.at_expert_rank);
}

Divisor divisor(int value) { return Divisor::of(static_cast<std::uint32_t>(value)); }

}  // namespace

DispatchBlockArgs block_args(const DispatchKernelArgs& args) {
  const protocol::DispatchArgs& dispatch = args.dispatch;
  DispatchBlockArgs block;
  block.dispatch = dispatch;
  block.machine = args.machine;
  block.shape = message_of(dispatch);
  block.map = map_of(dispatch);
  block.tokens = TokenShares::of(dispatch.topk.num_tokens, args.machine.num_workers);
  block.num_local = dispatch.rules.experts.num_local();
  block.local_experts = divisor(block.num_local);
  block.notice_words = divisor(block.num_local + 1);
  // A power of two, so that no token stands in two warps.
  while (4 << block.route_lanes_log2 < dispatch.topk.k) ++block.route_lanes_log2;
  block.whole_routes = dispatch.topk.k % 4 == 0 && is_aligned(dispatch.topk.idx);
  return block;
}

CombineBlockArgs block_args(const CombineKernelArgs& args) {
  CombineBlockArgs block;
  block.combine = args.combine;
  block.machine = args.machine;
  block.map = map_of(args.combine);
  block.local_experts = divisor(args.combine.experts.num_local());
  block.max_tokens = divisor(args.combine.op.map.shape.max_tokens);
  return block;
}

bool block::takes(const protocol::DispatchArgs& args) {
  return args.rules.experts.num_rounds == 1 && !args.rules.per_expert &&
         args.rules.experts.num_ranks <= kWarpLanes && args.topk.num_tokens <= kMostCounted &&
         args.op.map.shape.hidden <= kMostBlockHidden && is_aligned(args.x) &&
         is_aligned(args.out_x) && map_of(args).bytes <= kSharedLimit;
}

bool block::takes(const protocol::CombineArgs& args) {
  const std::int64_t homes =
      std::int64_t{args.experts.num_ranks} * args.op.map.shape.max_tokens * kHomeParts;
  return args.signals == nullptr && args.experts.num_rounds == 1 &&
         args.format == CombineFormat::kBf16 && args.experts.num_ranks <= kWarpLanes &&
         args.op.map.shape.hidden <= kMostBlockHidden && is_aligned(args.x) &&
         is_aligned(args.out) && map_of(args).in_rows >= 3 &&
         homes * args.op.map.shape.max_tokens < std::int64_t{1} << 31 &&
         std::int64_t{args.experts.num_experts} * args.experts.num_local() < std::int64_t{1} << 32;
}

}  // namespace braid::cuda
