// The machine on a GPU: a worker is a block, its warps have 32 lanes; rows are staged in shared
// memory and travel as bulk copies. Every rank is reachable by load and store.
#pragma once

#include "backend/cuda/flags.cuh"
#include "backend/cuda/warp_rows.cuh"

namespace braid::cuda {

// One thread's view. Every thread of a block makes one before it does anything else. Map: of either
// kind of buffer.
template <class Map>
class CudaMachineOf : public WarpRows {
 public:
  __device__ CudaMachineOf(const MachineArgs& args, const Map& map, std::byte* shared, int worker)
      : WarpRows(worker < args.sending_workers ? args.sending : args.shared, shared),
        args_(args),
        flags_(args, map),
        worker_(worker) {
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
  __device__ int num_warps() const { return num_threads() / kWarpLanes; }
  __device__ int num_senders() const { return map_.warps.num_senders; }
  __device__ int sending_workers() const { return args_.sending_workers; }
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

  __device__ std::byte* scratch() const { return shared_ + map_.scratch; }
  __device__ void scratch_add(std::uint32_t* counter, std::uint32_t amount) const {
    ptx::red_add_relaxed_cta_shared_u32(counter, amount);
  }
  __device__ void scratch_or(std::uint32_t* word, std::uint32_t bits) const {
    ptx::red_or_relaxed_cta_shared_u32(word, bits);
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
  __device__ WaitResult wait_count(const std::int32_t* count, std::int32_t expected,
                                   const WaitTag& tag) {
    const WaitResult result = flags_.wait_count(count, expected, tag);
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
  __device__ void send_row(const machine::Staged& part, int rank, std::int64_t offset) const {
    copy_row(part, flags_.peer(rank) + offset);
  }
  __device__ void send_nested(const machine::NestedSum& sum, int rank, std::int64_t offset) {
    put_nested(sum, flags_.peer(rank) + offset);
  }
  __device__ static std::uint32_t claim(std::uint32_t* counter) {
    std::uint32_t number = 0;
    if (is_first_lane()) number = ptx::atom_add_relaxed_gpu_u32(counter, 1);
    return __shfl_sync(kAllLanes, number, 0);
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

 private:
  __device__ static bool is_first_lane() { return threadIdx.x % kWarpLanes == 0; }
  __device__ static const std::byte* given(const std::uint16_t* row) {
    return reinterpret_cast<const std::byte*>(row);
  }
  __device__ Team team() const { return {thread(), num_threads()}; }
  __device__ std::byte* block_row(int turn) const {
    return shared_ + map_.block_rows + turn * map_.row_bytes;
  }
  __device__ std::byte* fetched_row(int turn) const {
    return shared_ + map_.fetched_rows + turn * map_.fetched_bytes;
  }
  __device__ static void store_row(std::byte* to, const std::byte* from, std::int64_t bytes) {
    ptx::bulk_copy_shared_to_global(to, from, static_cast<std::uint32_t>(bytes));
    ptx::bulk_commit_group();
  }

  const MachineArgs& args_;
  RankFlagsOf<Map> flags_;
  int worker_;
  int turn_ = 0;                    // which block row is staged next
  int fetch_turn_ = 0;              // the fetching thread's: which place is fetched into next
  int fetched_ahead_ = 0;           // its rows that are not staged yet
  std::uint32_t block_parity_ = 0;  // the same for the block's rows, a bit each
  bool missed_ = false;             // a wait of this thread has failed
  bool failed_ = false;             // one of the block's has, as of the last sync_worker
};

using CudaMachine = CudaMachineOf<layout::BufferMap>;

static_assert(machine::Machine<CudaMachine>);

}  // namespace braid::cuda
