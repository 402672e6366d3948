#include "backend/cuda/shared_map.hpp"

#include "backend/cuda/kernels.hpp"
#include "base/check.hpp"
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

}  // namespace

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

SharedMap shared_map_of(const layout::ThroughputShape& shape) {
  const std::int64_t fp8 =
      shape.hidden % kScaleGroup == 0
          ? layout::MessageShape::of(DispatchFormat::kFp8, shape.hidden).payload_bytes()
          : 0;
  const std::int64_t row =
      max_of(max_of(shape.home_row_bytes(), fp8), layout::ChunkShape::of(shape, shape.top_k).bytes);
  for (int warps = kMostWarps;; --warps) {
    const SharedMap map =
        SharedMap::of({layout::throughput_scratch_bytes(shape, warps), row, 0}, warps);
    if (map.bytes <= kSharedLimit) return map;
    require(warps > 1,
            "a row of {} bytes on {} ranks takes {} bytes of a block's shared memory, but there "
            "are {}",
            row, shape.num_ranks, map.bytes, kSharedLimit);
  }
}

}  // namespace braid::cuda
