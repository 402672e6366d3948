// A warp's rows on their way through its block's shared memory: places that bulk copies fill and
// empty in turn, and sums of rows that come piece by piece.
#pragma once

#include "backend/cuda/nested_sums.cuh"
#include "backend/cuda/piece_sums.cuh"
#include "backend/cuda/shared_map.hpp"
#include "layout/scratch.hpp"
#include "ptx/bulk_copy.cuh"

namespace braid::cuda {

// Of a warp's place: pieces of a sum's rows are summed in one of them while the next ones come to
// the other. More of them are smaller ones, which cost more than they hide.
inline constexpr int kSumParts = 2;
static_assert(kSumParts <= kMostPlaces, "a part has a place's barrier");

// Of a nested sum that is sent: steps that leave together.
inline constexpr int kStripSteps = 2;
inline constexpr int kStripVectors = kStripSteps * kStepVectors;

// One thread's view, of a machine (machine/machine.hpp says what its calls are for).
class WarpRows {
 public:
  __device__ static int warp() { return static_cast<int>(threadIdx.x) / kWarpLanes; }
  __device__ static int lane() { return static_cast<int>(threadIdx.x) % kWarpLanes; }

  // Of a warp's places, in turn, one or two are loaded ahead of the row that is taken, and one is
  // still being read by the copies of the row before it.
  __device__ int rows_ahead() const {
    return places() > 2 ? min_of(places() - 2, layout::kMostAhead) : places() - 1;
  }
  __device__ void begin_row(const machine::Row& row) {
    await_free_place();
    std::byte* place = place_row(begun_);
    if (!is_bulk(row.scales)) {
      copy_words(place + row.data.bytes, row.scales.data, row.scales.bytes, {lane(), kWarpLanes});
      ptx::fence_proxy_async_shared_cta();
      __syncwarp();
    }
    if (lane() == 0) {
      const auto bytes = static_cast<std::uint32_t>(row.data.bytes);
      const auto scale_bytes =
          is_bulk(row.scales) ? static_cast<std::uint32_t>(row.scales.bytes) : 0u;
      std::uint64_t* barrier = place_barrier(begun_);
      ptx::mbarrier_arrive_expect_tx_release_cta(barrier, bytes + scale_bytes);
      ptx::bulk_copy_global_to_shared(place, row.data.data, bytes, barrier);
      if (scale_bytes > 0) {
        ptx::bulk_copy_global_to_shared(place + bytes, row.scales.data, scale_bytes, barrier);
      }
    }
    begun_ = next_place(begun_);
  }
  __device__ machine::Row take_row(const machine::Row& row) {
    await_place(taken_);
    const std::byte* place = place_row(taken_);
    return {{place, row.data.bytes}, {place + row.data.bytes, row.scales.bytes}};
  }
  // In the row's own place: what a lane writes is never behind what others have still to read. The
  // scales go behind the row as it came.
  __device__ machine::Row take_encoded_row(DispatchFormat format, int hidden) {
    await_place(taken_);
    std::byte* row = place_row(taken_);
    std::byte* scales = row + 2 * std::int64_t{hidden};
    const int num_groups = hidden / kScaleGroup;
#pragma unroll 1
    for (int base = 0; base < num_groups; base += 8) {
      uint4 values[4];
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int group = base + 2 * i + lane() / 16;
        values[i] = group < num_groups
                        ? reinterpret_cast<const uint4*>(row)[group * 16 + lane() % 16]
                        : uint4{};
      }
      __syncwarp();
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int group = base + 2 * i + lane() / 16;
        encode_eight(format, values[i], group, group < num_groups, row, scales);
      }
      __syncwarp();
    }
    ptx::fence_proxy_async_shared_cta();
    __syncwarp();
    return {{row, std::int64_t{hidden}}, {scales, codec::dispatch_scale_bytes(format, hidden)}};
  }
  __device__ void copy_row(const machine::Staged& part, std::byte* to) const {
    const auto unaligned =
        reinterpret_cast<std::uintptr_t>(to) | static_cast<std::uintptr_t>(part.bytes);
    if (unaligned % 16 == 0) {
      ptx::bulk_copy_shared_to_global(to, part.data, static_cast<std::uint32_t>(part.bytes));
    } else {
      copy_words(to, part.data, part.bytes, {0, 1});
    }
  }
  // A row's last group; a nested sum's strips are one each. In every lane.
  __device__ void leave_row() {
    ptx::bulk_commit_group();
    taken_ = next_place(taken_);
  }
  __device__ void skip_row() const {
    for (int group = 0; group < groups_of_row_; ++group) ptx::bulk_commit_group();
  }
  __device__ void drain_rows(int newest) const {
    wait_groups(newest * groups_of_row_);
    __syncwarp();
  }
  // A piece of every row is summed while later pieces of each, at the end the next sum's first, are
  // on their way into other parts of the warp's row: loads into registers would be too few at a
  // time. What the rows' flags have acquired, wait_each has shown to copies.
  __device__ void sum_rows(const machine::SumRequest& request, const machine::SumRequest& next,
                           std::byte* out) {
    if (room_of(request) == 0) return sum_directly(request, out);
    for_pieces(request, next, [&](const Piece& piece) {
      sum_piece(request, piece, reinterpret_cast<uint4*>(out) + piece.first);
    });
  }
  __device__ void sum_nested(const machine::NestedSum& sum, std::byte* out) const {
    run_steps(sum, ring_behind(0), [&](int step, const LaneVectors& sums) {
      store_vectors(sums.x, step * kStepVectors + lane(), sum.hidden / 8,
                    reinterpret_cast<uint4*>(out));
    });
  }

 protected:
  // The same to where bulk copies go, a strip of steps at a time: two strips stand before the ring,
  // of which one is filled while the other one is read. Leaves the last one's group to leave_row.
  __device__ void put_nested(const machine::NestedSum& sum, std::byte* to) {
    const int vectors = sum.hidden / 8;
    groups_of_row_ = (vectors + kStripVectors - 1) / kStripVectors;
    auto* strips = reinterpret_cast<uint4*>(warp_row());
    int first = 0;  // vector of the strip
    run_steps(sum, ring_behind(2 * kStripSteps), [&](int step, const LaneVectors& sums) {
      uint4* staged = strips + strip_ * kStripVectors;
      const int at = step * kStepVectors - first;
      if (at == 0) {
        ptx::bulk_wait_group_read<1>();
        __syncwarp();
      }
      const int count = min_of(kStripVectors, vectors - first);
      store_vectors(sums.x, at + lane(), count, staged);
      if (at + kStepVectors < count) return;
      ptx::fence_proxy_async_shared_cta();
      __syncwarp();
      if (lane() == 0) {
        ptx::bulk_copy_shared_to_global(to + 16 * std::int64_t{first},
                                        reinterpret_cast<const std::byte*>(staged),
                                        static_cast<std::uint32_t>(16 * count));
      }
      first += count;
      strip_ ^= 1;
      if (first < vectors) ptx::bulk_commit_group();
    });
  }

  __device__ WarpRows(const SharedMap& map, std::byte* shared) : shared_(shared), map_(map) {}

  __device__ std::uint64_t* barrier(int i) const {
    return reinterpret_cast<std::uint64_t*>(shared_) + i;
  }
  // A row into shared memory. One thread starts it, any may wait for it.
  __device__ static void start_load(std::byte* to, const std::byte* from, std::int64_t bytes,
                                    std::uint64_t* barrier) {
    const auto count = static_cast<std::uint32_t>(bytes);
    ptx::mbarrier_arrive_expect_tx_release_cta(barrier, count);
    ptx::bulk_copy_global_to_shared(to, from, count, barrier);
  }
  __device__ static void await_load(std::uint64_t* barrier, std::uint32_t& parity) {
    while (!ptx::mbarrier_try_wait_parity_acquire_cta(barrier, parity)) {
    }
    parity ^= 1;
  }
  // A warp's places: rows, and a barrier each.
  __device__ int places() const {
    const WarpPlaces& warps = map_.warps;
    return warp() < warps.num_senders ? warps.sender_places : warps.other_places;
  }
  __device__ int next_place(int place) const { return place + 1 == places() ? 0 : place + 1; }
  // What the warp's next place held has been sent, less the newest row where there is room for it.
  __device__ void await_free_place() const {
    if (places() - rows_ahead() > 1) {
      ptx::bulk_wait_group_read<1>();
    } else {
      ptx::bulk_wait_group_read<0>();
    }
    __syncwarp();
  }
  __device__ std::byte* place_row(int place) const {
    return shared_ + map_.warp_rows + (map_.first_place(warp()) + place) * map_.row_bytes;
  }
  __device__ std::byte* warp_row() const { return place_row(0); }
  __device__ std::uint64_t* place_barrier(int place) const {
    return barrier(2 + kMostPlaces * warp() + place);
  }
  __device__ void await_place(int place) {
    std::uint32_t parity = place_parities_ >> place & 1;
    await_load(place_barrier(place), parity);
    place_parities_ ^= 1u << place;
  }

  std::byte* shared_;
  const SharedMap& map_;

 private:
  __device__ static bool is_bulk(const machine::Staged& part) {
    return (reinterpret_cast<std::uintptr_t>(part.data) | static_cast<std::uintptr_t>(part.bytes)) %
               16 ==
           0;
  }
  // Vectors of each of a sum's rows that a part of the warp's row has room for; 0: too few.
  __device__ int room_of(const machine::SumRequest& request) const {
    if (request.num_rows == 0) return 0;
    return static_cast<int>(map_.row_bytes / (16 * kSumParts)) / request.num_rows;
  }
  // Vectors of every row: from `first` on, as many as there is room for in that part of the warp's
  // row.
  struct Piece {
    int first, room, part;
    __device__ int count(int hidden) const { return min_of(room, hidden / 8 - first); }
  };
  __device__ uint4* piece_rows(const Piece& piece) const {
    return reinterpret_cast<uint4*>(warp_row()) + map_.row_bytes / (16 * kSumParts) * piece.part;
  }
  // A row a lane.
  __device__ void load_piece(const machine::SumRequest& request, const Piece& piece) const {
    const auto bytes = static_cast<std::uint32_t>(16 * piece.count(request.hidden));
    std::uint64_t* barrier = place_barrier(piece.part);
    if (lane() == 0) {
      ptx::mbarrier_arrive_expect_tx_release_cta(
          barrier, bytes * static_cast<std::uint32_t>(request.num_rows));
    }
    uint4* to = piece_rows(piece);
#pragma unroll 1
    for (int row = lane(); row < request.num_rows; row += kWarpLanes) {
      ptx::bulk_copy_global_to_shared(to + row * piece.room,
                                      request.rows[row] + 16 * std::int64_t{piece.first}, bytes,
                                      barrier);
    }
  }
  template <class Sum>
  __device__ void for_pieces(const machine::SumRequest& request, const machine::SumRequest& next,
                             Sum&& sum) {
    const int room = room_of(request);
    const int vectors = request.hidden / 8;
    const int pieces = (vectors + room - 1) / room;
    const int next_room = room_of(next);
    const int next_pieces = next_room == 0 ? 0 : (vectors + next_room - 1) / next_room;
    for (int piece = 0; piece < pieces; ++piece) {
      // As many ahead as there are parts.
      for (; pieces_ahead_ < kSumParts; ++pieces_ahead_) {
        const int later = piece + pieces_ahead_;
        const int part = (part_ + pieces_ahead_) % kSumParts;
        if (later >= pieces + next_pieces) break;
        if (later < pieces) {
          load_piece(request, {later * room, room, part});
        } else {
          load_piece(next, {(later - pieces) * next_room, next_room, part});
        }
      }
      await_place(part_);
      sum(Piece{piece * room, room, part_});
      __syncwarp();
      part_ = (part_ + 1) % kSumParts;
      --pieces_ahead_;
    }
  }
  __device__ void sum_piece(const machine::SumRequest& request, const Piece& piece,
                            uint4* to) const {
    sum_pieces({piece_rows(piece), piece.room, piece.count(request.hidden), request.num_rows}, to);
  }
  // In the warp's place, behind so many steps.
  __device__ StepRing ring_behind(int steps) const {
    return {reinterpret_cast<uint4*>(warp_row()) + steps * kStepVectors,
            static_cast<int>(map_.row_bytes / kStepBytes) - steps};
  }
  template <class Put>
  __device__ static void run_steps(const machine::NestedSum& sum, const StepRing& ring, Put&& put) {
    NestedSteps steps(sum, ring);
    if (steps.is_too_wide()) {
      steps.run_directly(put);
    } else {
      steps.run(put);
    }
  }
  // All of this thread's groups of bulk stores but the newest `pending`, or fewer, are where they
  // go.
  __device__ static void wait_groups(int pending) {
    if (pending >= 14) return ptx::bulk_wait_group<14>();  // of 7168 channels, two rows'
    if (pending >= 8) return ptx::bulk_wait_group<8>();
    switch (pending) {
      case 0: return ptx::bulk_wait_group<0>();
      case 1: return ptx::bulk_wait_group<1>();
      case 2: return ptx::bulk_wait_group<2>();
      case 3: return ptx::bulk_wait_group<3>();
      case 4: return ptx::bulk_wait_group<4>();
      case 5: return ptx::bulk_wait_group<5>();
      default: return ptx::bulk_wait_group<6>();
    }
  }
  // Of rows too short for that, or too many.
  __device__ void sum_directly(const machine::SumRequest& request, std::byte* out) const {
    sum_bf16(request, {lane(), kWarpLanes}, reinterpret_cast<std::uint16_t*>(out));
  }

  int strip_ = 0;                     // that a nested sum fills next: the other one may be read
  int groups_of_row_ = 1;             // that its stores are
  int begun_ = 0, taken_ = 0;         // the places of the warp's next rows to be begun, and taken
  std::uint32_t place_parities_ = 0;  // of the phases that are waited for next, a bit each
  int part_ = 0;                      // of the warp's row: where the next piece of a sum is
  int pieces_ahead_ = 0;              // from there on, that are on their way
};

}  // namespace braid::cuda
