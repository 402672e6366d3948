#include "backend/cuda/shared_map.hpp"

#include "backend/cuda/kernels.hpp"
#include "backend/cuda/throughput_kernels.hpp"
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
        {warps, warps, 1, 1});
    if (map.bytes <= kSharedLimit) return map;
    require(warps > 1,
            "a row of {} bytes with {} experts takes {} bytes of a block's shared memory, but "
            "there are {}",
            roles.row_bytes, roles.experts.num_experts, map.bytes, kSharedLimit);
  }
}

// Of high throughput: rows of so many bytes, which warps stage and the block does not.
struct Rows {
  const protocol::ThroughputArgs& op;
  std::int64_t bytes;
  const char* name = "rows";
  const char* bounded_by = "hidden";
  std::int64_t (*scratch_bytes)(const layout::ThroughputShape& shape,
                                int num_warps) = layout::row_scratch_bytes;

  SharedMap map_of(const WarpPlaces& warps) const {
    return SharedMap::of({scratch_bytes(op.map.shape, warps.num_warps), bytes, 0, 0}, warps);
  }
  bool fit(const WarpPlaces& warps) const { return map_of(warps).bytes <= kSharedLimit; }
  [[noreturn]] void refuse(const WarpPlaces& least) const {
    fail(ErrorCode::kInvalidArgument,
         "{} of {} bytes on {} ranks take {} bytes of a block's shared memory, but there are {}: "
         "{} must be smaller",
         name, bytes, op.map.shape.num_ranks, map_of(least).bytes, kSharedLimit, bounded_by);
  }
};

// The first of some ways to share a block that fits.
template <class... Ways>
SharedMap first_fit(const Rows& rows, const Ways&... ways) {
  WarpPlaces chosen;
  const auto takes = [&](const WarpPlaces& way) {
    chosen = way;
    return rows.fit(way);
  };
  if (!(takes(ways) || ...)) rows.refuse(chosen);
  return rows.map_of(chosen);
}

// Of the expanded form: blocks that sum what they send. These fill the link; more of them are as
// many as the others.
constexpr int kSummingSenders = 32;

// Every warp sums steps of rows, of whatever length, that come into a ring. Many warps serve few
// blocks best, and long rings many.
SharedMap rings_of(const protocol::RowsCombineArgs& args, int num_workers) {
  const auto rings = [&](int steps) {
    return Rows{args.op, steps * kStepBytes, "rings for rows", "num_ranks or top_k"};
  };
  constexpr int kShort = 12, kLong = 17;
  if (num_workers <= kSummingSenders && rings(kShort).fit({16, 16, 1, 1})) {
    return rings(kShort).map_of({16, 16, 1, 1});
  }
  return first_fit(rings(kLong), WarpPlaces{12, 12, 1, 1}, WarpPlaces{10, 10, 1, 1},
                   WarpPlaces{8, 8, 1, 1}, WarpPlaces{4, 4, 1, 1}, WarpPlaces{1, 1, 1, 1});
}

}  // namespace

SharedMap shared_map_of(const protocol::LayoutArgs& args) {
  const Rows chunks{args.op, layout::ChunkShape::of(args.op.map.shape, args.topk.k).bytes,
                    "chunks of a routing", "max_tokens or num_experts",
                    layout::layout_scratch_bytes};
  return first_fit(chunks, WarpPlaces{16, 16, 1, 0}, WarpPlaces{8, 8, 1, 0},
                   WarpPlaces{1, 1, 1, 0});
}

// What is on its way at a time is what a block's shared memory holds: few warps with four rows each
// do, and half of that is for what comes. Rows that stay where they arrive are waited for by warps
// that stage nothing; rows that are encoded here want more warps.
SharedMap shared_map_of(const protocol::RowsDispatchArgs& args) {
  const int hidden = args.op.map.shape.hidden;
  const auto shape = layout::MessageShape::of(args.format, hidden);
  const std::int64_t scales = round_up(shape.scale_bytes, layout::kRowAlignment);
  if (args.format != DispatchFormat::kBf16 && args.scales == nullptr) {
    // A row comes as BF16, and its scales go behind it.
    const Rows rows{args.op, 2 * std::int64_t{hidden} + scales};
    if (args.in_region) {
      return first_fit(rows, WarpPlaces{9, 7, 2, 0}, WarpPlaces{4, 3, 2, 0},
                       WarpPlaces{2, 1, 1, 0});
    }
    return first_fit(rows, WarpPlaces{7, 5, 2, 2}, WarpPlaces{3, 2, 2, 2}, WarpPlaces{2, 1, 1, 1});
  }
  const Rows rows{args.op, shape.data_bytes + scales};
  if (args.in_region) {
    return first_fit(rows, WarpPlaces{10, 6, 4, 0}, WarpPlaces{6, 4, 4, 0}, WarpPlaces{7, 5, 3, 0},
                     WarpPlaces{6, 4, 3, 0}, WarpPlaces{4, 2, 3, 0}, WarpPlaces{2, 1, 1, 0});
  }
  return first_fit(rows, WarpPlaces{12, 6, 2, 2}, WarpPlaces{8, 4, 2, 2}, WarpPlaces{7, 3, 2, 2},
                   WarpPlaces{6, 3, 2, 2}, WarpPlaces{4, 2, 3, 3}, WarpPlaces{2, 1, 3, 2},
                   WarpPlaces{2, 1, 1, 1});
}

// What comes home is summed by warps that have the pieces of one row at a time.
SharedMap shared_map_of(const protocol::RowsCombineArgs& args) {
  if (args.expanded) return rings_of(args, 1);
  const Rows rows{args.op, args.op.map.shape.home_row_bytes()};
  return first_fit(rows, WarpPlaces{16, 4, 2, 1}, WarpPlaces{12, 3, 2, 1}, WarpPlaces{9, 2, 2, 1},
                   WarpPlaces{6, 1, 2, 1}, WarpPlaces{4, 1, 2, 1}, WarpPlaces{2, 1, 1, 1});
}

// Where there are enough blocks to fill the link, some of them only send: behind stores that wait
// for the link, a block's loads and other stores wait too. In the expanded form they sum when they
// have sent all.
void share_memory(const protocol::RowsCombineArgs& args, MachineArgs& machine) {
  if (args.expanded) {
    machine.shared = rings_of(args, machine.num_workers);
    machine.sending = machine.shared;
    machine.sending_workers =
        min_of(machine.num_workers, max_of(kSummingSenders, machine.num_workers / 2));
    return;
  }
  machine.shared = shared_map_of(args);
  constexpr int kFewest = 20;
  constexpr int kMostSending = 14;
  if (machine.num_workers < kFewest) return;
  const Rows rows{args.op, args.op.map.shape.home_row_bytes()};
  for (const int warps : {15, 13}) {  // many ranks' tables leave room for fewer
    const WarpPlaces sending{warps, 5, 3, 0}, summing{warps, 0, 0, 1};
    if (!rows.fit(sending) || !rows.fit(summing)) continue;
    machine.sending = rows.map_of(sending);
    machine.shared = rows.map_of(summing);
    machine.sending_workers = min_of(kMostSending, machine.num_workers * 5 / 12);
    return;
  }
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
