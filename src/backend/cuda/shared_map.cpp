#include "backend/cuda/shared_map.hpp"

#include "backend/cuda/kernels.hpp"
#include "base/check.hpp"
#include "backend/cuda/throughput_kernels.hpp"
#include "layout/scratch.hpp"

namespace braid::cuda {
namespace {

struct Roles {
  const ExpertMap& experts;
  int top_k;
  std::int64_t row_bytes;
  std::int64_t fetched_bytes;
};

SharedMap widest(const Roles& roles) {
  for (int warps = kMostWarps;; --warps) {
    const SharedMap map = SharedMap::of(
        {layout::scratch_bytes(roles.experts, roles.top_k), roles.row_bytes, roles.fetched_bytes},
        warps);
    if (map.bytes <= kSharedLimit) return map;
    require(warps > 1,
            "a row of {} bytes with {} experts takes {} bytes of a block's shared memory, but "
            "there are {}",
            roles.row_bytes, roles.experts.num_experts, map.bytes, kSharedLimit);
  }
}

// A warp stages its own rows of so many bytes, and the block none.
SharedMap widest(const protocol::ThroughputArgs& op, std::int64_t row_bytes) {
  for (int warps = kMostWarps;; --warps) {
    const SharedMap map = SharedMap::of(
        {layout::throughput_scratch_bytes(op.map.shape, warps), row_bytes, 0, 0}, warps);
    if (map.bytes <= kSharedLimit) return map;
    require(warps > 1,
            "a row of {} bytes on {} ranks takes {} bytes of a block's shared memory, but there are "
            "{}",
            row_bytes, op.map.shape.num_ranks, map.bytes, kSharedLimit);
  }
}

}  // namespace

SharedMap shared_map_of(const protocol::LayoutArgs& args) {
  return widest(args.op, layout::ChunkShape::of(args.topk.k, args.op.map.shape.num_ranks).bytes);
}

SharedMap shared_map_of(const protocol::RowsDispatchArgs& args) {
  return widest(args.op,
                layout::MessageShape::of(args.format, args.op.map.shape.hidden).payload_bytes());
}

SharedMap shared_map_of(const protocol::RowsCombineArgs& args) {
  return widest(args.op, args.op.map.shape.home_row_bytes());
}

SharedMap shared_map_of(const protocol::DispatchArgs& args) {
  const auto message = layout::MessageShape::of(args.format, args.op.map.shape.hidden);
  // A BF16 row is staged where it arrives.
  const std::int64_t fetched =
      args.format == DispatchFormat::kBf16 ? 0 : 2 * std::int64_t{args.op.map.shape.hidden};
  return widest({args.rules.experts, args.topk.k, message.bytes(args.topk.k), fetched});
}

SharedMap shared_map_of(const protocol::CombineArgs& args) {
  const int hidden = args.op.map.shape.hidden;
  const std::int64_t bytes = max_of(codec::combine_row_max_bytes(CombineFormat::kBf16, hidden),
                                    codec::combine_row_max_bytes(args.format, hidden));
  return widest({args.experts, args.topk.k, bytes, 0});
}

}  // namespace braid::cuda
