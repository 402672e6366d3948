// The machine on a GPU: a worker is a block, its warps have 32 lanes; rows are staged in shared
// memory and travel as bulk copies. Every rank is reachable by load and store.
#pragma once

#include "backend/cuda/combine_rows.cuh"
#include "backend/cuda/flags.cuh"
#include "layout/scratch.hpp"
#include "ptx/bulk_copy.cuh"

namespace braid::cuda {

// One thread's view. Every thread of a block makes one before it does anything else. Map: of either
// kind of buffer.
template <class Map>
class CudaMachineOf {
 public:
  __device__ CudaMachineOf(const MachineArgs& args, const Map& map, std::byte* shared, int worker)
      : args_(args), flags_(args, map), shared_(shared), worker_(worker) {
    for_threads(SharedMap::barriers_of(num_warps()),
                [&](int i) { ptx::mbarrier_init(barrier(i), 1); });
    ptx::fence_mbarrier_init_release_cluster();
    __syncthreads();
  }
  // No copy into shared memory is left on its way: after a failure a fetched row is not staged.
  __device__ ~CudaMachineOf() {
    if (thread() != 0) return;
    for (; fetched_ahead_ > 0; --fetched_ahead_) {
      const int place = fetch_turn_ ^ (fetched_ahead_ & 1);
      std::uint32_t parity = block_parity_ >> place & 1;
      await_load(barrier(place), parity);
    }
  }
  CudaMachineOf(const CudaMachineOf&) = delete;
  CudaMachineOf& operator=(const CudaMachineOf&) = delete;

  __device__ int rank() const { return args_.rank; }
  __device__ int worker() const { return worker_; }
  __device__ int num_workers() const { return args_.num_workers; }
  __device__ int warp() const { return thread() / kWarpLanes; }
  __device__ int num_warps() const { return num_threads() / kWarpLanes; }
  __device__ int lane() const { return thread() % kWarpLanes; }
  __device__ int num_senders() const { return args_.shared.warps.num_senders; }
  __device__ static constexpr int num_lanes() { return kWarpLanes; }
  __device__ int thread() const { return static_cast<int>(threadIdx.x); }
  __device__ int num_threads() const { return static_cast<int>(blockDim.x); }
  // Not unrolled: most run once or not at all, and code that is fetched once costs more than it
  // saves.
  template <class F>
  __device__ void for_lanes(int count, F&& f) const {
#pragma unroll 1
    for (int i = lane(); i < count; i += kWarpLanes) f(i);
  }
  template <class F>
  __device__ void for_threads(int count, F&& f) const {
#pragma unroll 1
    for (int i = thread(); i < count; i += num_threads()) f(i);
  }
  __device__ void sync_warp() const { __syncwarp(); }
  // Also where the block agrees on whether a wait has failed.
  __device__ void sync_worker() {
    failed_ = __syncthreads_or(static_cast<int>(failed_ || missed_)) != 0;
  }

  __device__ std::byte* scratch() const { return shared_ + args_.shared.scratch; }
  __device__ void scratch_add(std::uint32_t* counter, std::uint32_t amount) const {
    ptx::red_add_relaxed_cta_shared_u32(counter, amount);
  }
  __device__ static void count(std::uint32_t* counter, std::uint32_t amount) {
    ptx::red_add_relaxed_gpu_u32(counter, amount);
  }
  __device__ bool last_worker(std::uint32_t* counter) const {
    bool last = false;
    if (lane() == 0) {
      const auto others = static_cast<std::uint32_t>(num_workers() - 1);
      last = ptx::atom_add_acq_rel_gpu_u32(counter, 1) == others;
      if (last) ptx::st_relaxed_gpu_u32(counter, 0);
    }
    last = __shfl_sync(kAllLanes, static_cast<int>(last), 0) != 0;
    __syncwarp();  // what lane 0 has acquired
    return last;
  }

  __device__ std::byte* local() const { return args_.local; }
  __device__ static constexpr bool reachable(int) { return true; }

  __device__ WaitResult wait(const Word* flag, std::uint32_t epoch, const WaitTag& tag,
                             std::int64_t* waited_ns) {
    const WaitResult result = flags_.wait(flag, epoch, tag, waited_ns);
    missed_ = missed_ || !result.reached;
    return result;
  }
  __device__ WaitResult wait_warp(const Word* flag, std::uint32_t epoch, const WaitTag& tag,
                                  std::int64_t* waited_ns) {
    WaitResult result;
    if (lane() == 0) result = flags_.wait(flag, epoch, tag, waited_ns);
    result.reached = __shfl_sync(kAllLanes, static_cast<int>(result.reached), 0) != 0;
    result.seen = __shfl_sync(kAllLanes, result.seen, 0);
    missed_ = missed_ || !result.reached;
    return result;
  }
  template <class F>
  __device__ bool wait_each(int count, F&& f) {
    bool reached = true;
    for_lanes(count, [&](int i) { reached = f(i).reached && reached; });
    const bool all = __all_sync(kAllLanes, static_cast<int>(reached)) != 0;
    __syncwarp();
    ptx::fence_proxy_async();
    return all;
  }
  __device__ bool failed() const { return failed_; }
  __device__ void report_bad_choice(std::int64_t token, int choice, std::int64_t value) const {
    RankFlagsOf<Map>::report_bad_choice(args_, token, choice, value);
  }

  __device__ void raise(int rank, std::int64_t offset, Word word) const {
    flags_.raise(rank, offset, word);
  }
  __device__ void post(int rank, std::int64_t offset, Word word) const {
    flags_.post(rank, offset, word);
  }
  // Never called: see reachable().
  __device__ static void signal(int, std::uint64_t, std::int64_t, Word) {}

  __device__ static void publish(Word* word, Word value) { ptx::st_release_sys_u64(word, value); }

  // FP8 rows wait in shared memory to be encoded; BF16 rows are only brought nearer.
  __device__ void fetch(DispatchFormat format, const std::uint16_t* row, int hidden) {
    const auto bytes = static_cast<std::uint32_t>(2 * hidden);
    if (format == DispatchFormat::kBf16) {
      ptx::bulk_prefetch_l2(row, bytes);
      return;
    }
    start_load(fetched_row(fetch_turn_), reinterpret_cast<const std::byte*>(row), bytes,
               barrier(fetch_turn_));
    fetch_turn_ ^= 1;
    ++fetched_ahead_;
  }
  __device__ machine::Staged stage(const std::byte* source, std::int64_t bytes) {
    if (lane() == 0) {
      ptx::fence_proxy_async();  // what an acquire has shown to loads is shown to this copy too
      start_load(warp_row(), source, bytes, place_barrier(0));
    }
    await_place(0);
    return {warp_row(), bytes};
  }
  __device__ machine::Staged stage_row(CombineFormat format, const std::uint16_t* x, int hidden) {
    if (format == CombineFormat::kBf16) {
      return stage(given(x), 2 * std::int64_t{hidden});
    }
    const std::int64_t bytes = encode_logfmt(x, hidden, lane(), warp_row());
    ptx::fence_proxy_async_shared_cta();
    __syncwarp();
    return {warp_row(), bytes};
  }
  template <class Fill>
  __device__ machine::Staged stage_filled(std::int64_t bytes, Fill&& fill) {
    fill(warp_row());
    ptx::fence_proxy_async_shared_cta();
    __syncwarp();
    return {warp_row(), bytes};
  }
  __device__ void settle() const {
    ptx::bulk_wait_group_read_0();
    __syncwarp();
  }
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
  __device__ machine::Row take_sum(const machine::SumRequest& request) {
    await_free_place();
    std::byte* place = place_row(begun_);
    begun_ = next_place(begun_);
    sum_directly(request, place);
    ptx::fence_proxy_async_shared_cta();
    __syncwarp();
    return {{place, 2 * std::int64_t{request.hidden}}, {}};
  }
  __device__ void sum_directly(const machine::SumRequest& request, std::byte* out) const {
    sum_bf16(request, {lane(), kWarpLanes}, reinterpret_cast<std::uint16_t*>(out));
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
  __device__ void send_row(const machine::Staged& part, int rank, std::int64_t offset) const {
    copy_row(part, flags_.peer(rank) + offset);
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
  // One group a row, in every lane.
  __device__ void leave_row() {
    ptx::bulk_commit_group();
    taken_ = next_place(taken_);
  }
  __device__ static std::uint32_t claim(std::uint32_t* counter) {
    std::uint32_t number = 0;
    if (is_first_lane()) number = ptx::atom_add_relaxed_gpu_u32(counter, 1);
    return __shfl_sync(kAllLanes, number, 0);
  }
  __device__ void skip_row() const { ptx::bulk_commit_group(); }
  template <int kNewest>
  __device__ void drain_rows() const {
    ptx::bulk_wait_group<kNewest>();
    __syncwarp();
  }
  __device__ machine::Staged stage_encoded(DispatchFormat format, const std::uint16_t* x,
                                           int hidden, int num_encoders) {
    const layout::MessageShape shape = layout::MessageShape::of(format, hidden);
    std::byte* row = block_row(turn_);
    turn_ ^= 1;
    if (format == DispatchFormat::kBf16) {
      if (thread() == 0) start_load(row, given(x), shape.payload_bytes(), barrier(0));
      await_load(barrier(0), block_parity_);
    } else if (warp() < num_encoders) {
      const int place = turn_ ^ 1;
      std::uint32_t parity = block_parity_ >> place & 1;
      await_load(barrier(place), parity);
      const Team encoders{thread(), num_encoders * kWarpLanes};
      encode_fp8(format, reinterpret_cast<const std::uint16_t*>(fetched_row(place)), hidden,
                 encoders, row, row + shape.scales_at, row + shape.header_at);
      ptx::fence_proxy_async_shared_cta();
      block_parity_ ^= 1u << place;
      --fetched_ahead_;
    }
    // The other row is free after this: what was sent of it has been read.
    ptx::bulk_wait_group_read_0();
    sync_worker();
    return {row, shape.payload_bytes()};
  }
  __device__ machine::Staged stage_sum(const machine::SumRequest& request, CombineFormat format) {
    std::byte* sum = block_row(0);
    std::byte* row = block_row(1);
    weighted_sum(request, sum);
    if (format == CombineFormat::kLogFmt10) {
      __syncthreads();
      const auto* channels = reinterpret_cast<const std::uint16_t*>(sum);
      if (warp() == 0) encode_logfmt(channels, request.hidden, lane(), row);
    }
    ptx::fence_proxy_async_shared_cta();
    sync_worker();
    if (format == CombineFormat::kBf16) return {sum, 2 * std::int64_t{request.hidden}};
    // Where one more group would begin is where the row ends.
    return {row, group_at(row, request.hidden, request.hidden / kScaleGroup, lane())};
  }

  __device__ void send(const machine::Staged& staged, int rank, std::uint64_t,
                       std::int64_t offset) const {
    store_row(flags_.peer(rank) + offset, staged.data, staged.bytes);
  }
  __device__ void write(const std::byte* source, std::int64_t bytes, int rank, std::uint64_t,
                        std::int64_t offset) const {
    copy_words(flags_.peer(rank) + offset, source, bytes, {0, 1});
  }
  __device__ void write_together(const std::byte* source, std::int64_t bytes, int rank,
                                 std::int64_t offset) const {
    copy_words(flags_.peer(rank) + offset, source, bytes, {lane(), kWarpLanes});
  }
  __device__ void copy(const machine::Staged& staged, std::int64_t from, std::int64_t bytes,
                       std::byte* to) const {
    const auto unaligned =
        reinterpret_cast<std::uintptr_t>(to) | static_cast<std::uintptr_t>(bytes);
    if (unaligned % 16 == 0) {
      store_row(to, staged.data + from, bytes);
    } else {
      copy_words(to, staged.data + from, bytes, {0, 1});
    }
  }
  __device__ void drain() const {
    ptx::bulk_wait_group_0();
    __syncwarp();
  }
  // The counts follow from the routing, which the host may have; a kernel keeps none.
  __device__ static void count_message(int) {}

  __device__ void weighted_sum(const machine::SumRequest& request, std::byte* out) const {
    auto* row = reinterpret_cast<std::uint16_t*>(out);
    if (request.format == CombineFormat::kBf16) {
      sum_bf16(request, team(), row);
    } else {
      sum_logfmt(request, team(), row);
    }
  }
  // A piece of every row is summed while later pieces of each, at the end the next sum's first, are
  // on their way into other parts of the warp's row: loads into registers would be too few at a
  // time. What the rows' flags have acquired, wait_each has shown to copies.
  __device__ void sum_rows(const machine::SumRequest& request, const machine::SumRequest& next,
                           std::byte* out) {
    const int room = room_of(request);
    if (room == 0) {
      sum_bf16(request, {lane(), kWarpLanes}, reinterpret_cast<std::uint16_t*>(out));
      return;
    }
    const int vectors = request.hidden / 8;
    const int pieces = (vectors + room - 1) / room;
    const int next_room = room_of(next);
    const int next_pieces = next_room == 0 ? 0 : (vectors + next_room - 1) / next_room;
    for (int piece = 0; piece < pieces; ++piece) {
      // As many ahead as there are parts.
      for (; pieces_ahead_ < kMostPlaces; ++pieces_ahead_) {
        const int later = piece + pieces_ahead_;
        const int part = (part_ + pieces_ahead_) % kMostPlaces;
        if (later < pieces) {
          load_piece(request, {later * room, room, part});
        } else if (later - pieces < next_pieces) {
          load_piece(next, {(later - pieces) * next_room, next_room, part});
        } else {
          break;
        }
      }
      await_place(part_);
      sum_piece(request, {piece * room, room, part_}, out);
      __syncwarp();
      part_ = (part_ + 1) % kMostPlaces;
      --pieces_ahead_;
    }
  }

 private:
  __device__ static bool is_first_lane() { return threadIdx.x % kWarpLanes == 0; }
  __device__ static bool is_bulk(const machine::Staged& part) {
    return (reinterpret_cast<std::uintptr_t>(part.data) | static_cast<std::uintptr_t>(part.bytes)) %
               16 ==
           0;
  }
  // Vectors of each of a sum's rows that a part of the warp's row has room for; 0: too few.
  __device__ int room_of(const machine::SumRequest& request) const {
    if (request.num_rows == 0) return 0;
    return static_cast<int>(args_.shared.row_bytes / (16 * kMostPlaces)) / request.num_rows;
  }
  // Vectors of every row: from `first` on, as many as there is room for in that part of the warp's
  // row.
  struct Piece {
    int first, room, part;
    __device__ int count(int hidden) const { return min_of(room, hidden / 8 - first); }
  };
  __device__ uint4* piece_rows(const Piece& piece) const {
    return reinterpret_cast<uint4*>(warp_row()) +
           args_.shared.row_bytes / (16 * kMostPlaces) * piece.part;
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
    for_lanes(request.num_rows, [&](int row) {
      ptx::bulk_copy_global_to_shared(to + row * piece.room,
                                      request.rows[row] + 16 * std::int64_t{piece.first}, bytes,
                                      barrier);
    });
  }
  // Several vectors of a lane's at a time: a lone warp waits for each instruction.
  __device__ void sum_piece(const machine::SumRequest& request, const Piece& piece,
                            std::byte* out) const {
    constexpr int kVectors = 4;
    const int count = piece.count(request.hidden);
    const uint4* rows = piece_rows(piece);
    auto* to = reinterpret_cast<uint4*>(out) + piece.first;
#pragma unroll 1
    for (int base = lane(); base < count; base += kVectors * kWarpLanes) {
      float sums[kVectors][8] = {};
#pragma unroll 1
      for (int row = 0; row < request.num_rows; ++row) {
        uint4 x[kVectors];
#pragma unroll
        for (int i = 0; i < kVectors; ++i) {
          x[i] = rows[row * piece.room + min_of(base + i * kWarpLanes, count - 1)];
        }
#pragma unroll
        for (int i = 0; i < kVectors; ++i) add_eight(x[i], 1.0F, sums[i]);
      }
#pragma unroll
      for (int i = 0; i < kVectors; ++i) {
        if (base + i * kWarpLanes < count) to[base + i * kWarpLanes] = eight_sums(sums[i]);
      }
    }
  }

  __device__ static const std::byte* given(const std::uint16_t* row) {
    return reinterpret_cast<const std::byte*>(row);
  }
  __device__ Team team() const { return {thread(), num_threads()}; }
  __device__ std::uint64_t* barrier(int i) const {
    return reinterpret_cast<std::uint64_t*>(shared_) + i;
  }
  __device__ std::byte* block_row(int turn) const {
    return shared_ + args_.shared.block_rows + turn * args_.shared.row_bytes;
  }
  __device__ std::byte* fetched_row(int turn) const {
    return shared_ + args_.shared.fetched_rows + turn * args_.shared.fetched_bytes;
  }
  // A warp's places: rows, and a barrier each.
  __device__ int places() const {
    const WarpPlaces& warps = args_.shared.warps;
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
    return shared_ + args_.shared.warp_rows +
           (args_.shared.first_place(warp()) + place) * args_.shared.row_bytes;
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
  __device__ static void store_row(std::byte* to, const std::byte* from, std::int64_t bytes) {
    ptx::bulk_copy_shared_to_global(to, from, static_cast<std::uint32_t>(bytes));
    ptx::bulk_commit_group();
  }

  const MachineArgs& args_;
  RankFlagsOf<Map> flags_;
  std::byte* shared_;
  int worker_;
  int turn_ = 0;                      // which block row is staged next
  int fetch_turn_ = 0;                // the fetching thread's: which place is fetched into next
  int fetched_ahead_ = 0;             // its rows that are not staged yet
  int begun_ = 0, taken_ = 0;         // the places of the warp's next rows to be begun, and taken
  std::uint32_t place_parities_ = 0;  // of the phases that are waited for next, a bit each
  int part_ = 0;                      // of the warp's row: where the next piece of a sum is
  int pieces_ahead_ = 0;              // from there on, that are on their way
  std::uint32_t block_parity_ = 0;    // the same for the block's rows, a bit each
  bool missed_ = false;               // a wait of this thread has failed
  bool failed_ = false;               // one of the block's has, as of the last sync_worker
};

using CudaMachine = CudaMachineOf<layout::BufferMap>;

static_assert(machine::Machine<CudaMachine>);

}  // namespace braid::cuda
