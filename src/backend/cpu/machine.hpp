// The machine on a CPU: a worker is one thread, which is one warp of one lane. Staging keeps a
// pointer wherever bytes can be sent from where they are.
#pragma once

#include <atomic>
#include <chrono>
#include <cstring>
#include <memory>

#include "backend/cpu/rank_context.hpp"
#include "backend/cpu/streaming_copy.hpp"
#include "codec/rows.hpp"
#include "machine/machine.hpp"

namespace braid::cpu {

struct WorkerPlace {
  int worker = 0;
  int num_workers = 1;
  std::int64_t scratch_bytes = 0;  // layout::scratch_bytes
};

class CpuMachine {
 public:
  CpuMachine(RankContext& context, Kind kind, const WorkerPlace& place)
      : context_(context), kind_(kind), place_(place), memory_(context.borrow()) {
    if (memory_->scratch.size() < static_cast<std::size_t>(place.scratch_bytes)) {
      memory_->scratch.resize(static_cast<std::size_t>(place.scratch_bytes));
    }
  }
  CpuMachine(const CpuMachine&) = delete;
  CpuMachine& operator=(const CpuMachine&) = delete;
  ~CpuMachine() {
    TrafficCounters& total = context_.traffic(kind_);
    for (std::size_t i = 0; i < 3; ++i) {
      total.bytes[i].fetch_add(bytes_[i], std::memory_order_relaxed);
      total.messages[i].fetch_add(messages_[i], std::memory_order_relaxed);
    }
    context_.give_back(std::move(memory_));
  }

  int rank() const { return context_.rank(); }
  int worker() const { return place_.worker; }
  int num_workers() const { return place_.num_workers; }
  static constexpr int warp() { return 0; }
  static constexpr int num_warps() { return 1; }
  static constexpr int num_senders() { return 1; }
  // Both ways to share the work are run: so is what GPUs do.
  int sending_workers() const { return place_.num_workers >= 3 ? place_.num_workers / 3 : 0; }
  static constexpr int lane() { return 0; }
  static constexpr int num_lanes() { return 1; }
  static constexpr int thread() { return 0; }
  static constexpr int num_threads() { return 1; }
  template <class F>
  static void for_lanes(int count, F&& f) {
    for (int i = 0; i < count; ++i) f(i);
  }
  template <class F>
  static void for_threads(int count, F&& f) {
    for_lanes(count, f);
  }
  static constexpr void sync_warp() {}
  static constexpr void sync_worker() {}

  std::byte* scratch() const { return memory_->scratch.data(); }
  static void scratch_add(std::uint32_t* counter, std::uint32_t amount) { *counter += amount; }
  static void scratch_or(std::uint32_t* word, std::uint32_t bits) { *word |= bits; }

  static void count(std::uint32_t* counter, std::uint32_t amount) {
    std::atomic_ref<std::uint32_t>(*counter).fetch_add(amount, std::memory_order_relaxed);
  }

  // Acquire and release: the last worker has seen all that the others did, and may release it on.
  bool last_worker(std::uint32_t* counter) const {
    const std::atomic_ref<std::uint32_t> done(*counter);
    if (done.fetch_add(1, std::memory_order_acq_rel) + 1 !=
        static_cast<std::uint32_t>(place_.num_workers)) {
      return false;
    }
    done.store(0, std::memory_order_relaxed);
    return true;
  }

  std::byte* local() const { return context_.local(); }
  bool reachable(int rank) const { return context_.peer(rank) != nullptr; }

  machine::WaitResult wait(const Word* flag, std::uint32_t epoch, const machine::WaitTag& tag,
                           std::int64_t* waited_ns) const {
    const Word seen =
        std::atomic_ref<Word>(*const_cast<Word*>(flag)).load(std::memory_order_acquire);
    if (machine::is_reached(seen, epoch, tag)) return {true, seen};
    const auto start = std::chrono::steady_clock::now();
    const machine::WaitResult result = context_.wait(flag, epoch, tag);
    if (waited_ns != nullptr) {
      const std::chrono::nanoseconds waited = std::chrono::steady_clock::now() - start;
      std::atomic_ref<std::int64_t>(*waited_ns)
          .fetch_add(waited.count(), std::memory_order_relaxed);
    }
    return result;
  }
  template <class F>
  static bool wait_each(int count, F&& f) {
    bool reached = true;
    for (int i = 0; i < count; ++i) reached = f(i).reached && reached;
    return reached;
  }
  machine::WaitResult wait_warp(const Word* flag, std::uint32_t epoch, const machine::WaitTag& tag,
                                std::int64_t* waited_ns) const {
    return wait(flag, epoch, tag, waited_ns);
  }
  machine::WaitResult wait_count(const std::int32_t* count, std::int32_t expected,
                                 const machine::WaitTag& tag) const {
    return context_.wait_count(count, expected, tag);
  }
  bool failed() const { return context_.failed(); }
  void report_bad_choice(std::int64_t token, int choice, std::int64_t value) {
    context_.report_bad_choice(token, choice, value);
  }

  void raise(int rank, std::int64_t offset, Word word) {
    auto* flag = reinterpret_cast<Word*>(context_.peer(rank) + offset);
    std::atomic_ref<Word>(*flag).store(word, std::memory_order_release);
    count_bytes(rank, sizeof(Word));
  }
  void post(int rank, std::int64_t offset, Word word) {
    auto* flag = reinterpret_cast<Word*>(context_.peer(rank) + offset);
    std::atomic_ref<Word>(*flag).store(word, std::memory_order_relaxed);
    count_bytes(rank, sizeof(Word));
  }
  void signal(int rank, std::uint64_t id, std::int64_t offset, Word word) {
    context_.transport().signal({rank, id, static_cast<std::uint64_t>(offset), word});
    count_bytes(rank, sizeof(Word));
  }

  static void publish(Word* word, Word value) {
    std::atomic_ref<Word>(*word).store(value, std::memory_order_release);
  }

  static constexpr void fetch(DispatchFormat, const std::uint16_t*, int) {}
  static machine::Staged stage(const std::byte* source, std::int64_t bytes) {
    return {source, bytes};
  }
  machine::Staged stage_encoded(DispatchFormat format, const std::uint16_t* x, int hidden, int) {
    const auto* given = reinterpret_cast<const std::byte*>(x);
    const auto shape = layout::MessageShape::of(format, hidden);
    if (format == DispatchFormat::kBf16) return {given, shape.payload_bytes()};
    std::byte* staging = staging_of(static_cast<std::size_t>(shape.payload_bytes()));
    codec::row_kernels().encode_dispatch(format, x, hidden, staging, staging + shape.scales_at);
    const std::int64_t scales_end = shape.scales_at + shape.scale_bytes;
    std::memset(staging + scales_end, 0,
                static_cast<std::size_t>(shape.payload_bytes() - scales_end));
    return {staging, shape.payload_bytes()};
  }
  template <class Fill>
  machine::Staged stage_filled(std::int64_t bytes, Fill&& fill) {
    std::byte* staging = staging_of(static_cast<std::size_t>(bytes));
    fill(staging);
    return {staging, bytes};
  }
  static constexpr int rows_ahead() { return 0; }
  void begin_row(const machine::Row& row) { row_ = row.data.data; }
  static machine::Row take_row(const machine::Row& row) { return row; }
  machine::Row take_encoded_row(DispatchFormat format, int hidden) {
    const auto staged =
        stage_encoded(format, reinterpret_cast<const std::uint16_t*>(row_), hidden, 1);
    const auto shape = layout::MessageShape::of(format, hidden);
    return {{staged.data, shape.data_bytes}, {staged.data + shape.scales_at, shape.scale_bytes}};
  }
  void send_row(const machine::Staged& row, int rank, std::int64_t offset) {
    write(row.data, row.bytes, rank, 0, offset);
  }
  static void copy_row(const machine::Staged& row, std::byte* to) { copy(row, 0, row.bytes, to); }
  static constexpr void leave_row() {}
  static constexpr void skip_row() {}
  static void drain_rows(int) { drain(); }
  static std::uint32_t claim(std::uint32_t* counter) {
    return std::atomic_ref<std::uint32_t>(*counter).fetch_add(1, std::memory_order_relaxed);
  }
  machine::Staged stage_row(CombineFormat format, const std::uint16_t* x, int hidden) {
    const auto* given = reinterpret_cast<const std::byte*>(x);
    const std::int64_t most = codec::combine_row_max_bytes(format, hidden);
    if (format == CombineFormat::kBf16) return {given, most};
    std::byte* staging = staging_of(static_cast<std::size_t>(most));
    return {staging, static_cast<std::int64_t>(
                         codec::row_kernels().encode_combine(format, x, hidden, staging))};
  }
  machine::Staged stage_sum(const machine::SumRequest& request, CombineFormat format) {
    memory_->sum.resize(static_cast<std::size_t>(request.hidden));
    weighted_sum(request, reinterpret_cast<std::byte*>(memory_->sum.data()));
    return stage_row(format, memory_->sum.data(), request.hidden);
  }

  void send(const machine::Staged& staged, int rank, std::uint64_t id, std::int64_t offset) {
    write(staged.data, staged.bytes, rank, id, offset);
  }
  void write_together(const std::byte* source, std::int64_t bytes, int rank, std::int64_t offset) {
    write(source, bytes, rank, 0, offset);
  }
  void write(const std::byte* source, std::int64_t bytes, int rank, std::uint64_t id,
             std::int64_t offset) {
    if (std::byte* block = context_.peer(rank); block != nullptr) {
      streaming_copy(block + offset, source, static_cast<std::size_t>(bytes));
    } else {
      context_.transport().put({rank, id, static_cast<std::uint64_t>(offset), source,
                                static_cast<std::uint64_t>(bytes)});
    }
    count_bytes(rank, static_cast<std::uint64_t>(bytes));
  }
  static void copy(const machine::Staged& staged, std::int64_t from, std::int64_t bytes,
                   std::byte* to) {
    streaming_copy(to, staged.data + from, static_cast<std::size_t>(bytes));
  }
  static void drain() { finish_streaming(); }
  void count_message(int rank) { ++messages_[context_.distance(rank)]; }

  void weighted_sum(const machine::SumRequest& request, std::byte* out) {
    const codec::RowKernels& kernels = codec::row_kernels();
    auto* row = reinterpret_cast<std::uint16_t*>(out);
    if (request.format == CombineFormat::kBf16) {
      kernels.weighted_sum_bf16(reinterpret_cast<const std::uint16_t* const*>(request.rows),
                                request.weights, request.num_rows, request.hidden, row);
      return;
    }
    memory_->accumulator.assign(static_cast<std::size_t>(request.hidden), 0.0F);
    for (int i = 0; i < request.num_rows; ++i) {
      kernels.accumulate_combine(request.format, request.rows[i], request.hidden,
                                 request.weights[i], memory_->accumulator.data());
    }
    kernels.store_bf16(memory_->accumulator.data(), request.hidden, row);
  }
  void sum_rows(const machine::SumRequest& request, const machine::SumRequest&, std::byte* out) {
    memory_->ones.resize(static_cast<std::size_t>(request.num_rows), 1.0F);
    machine::SumRequest weighted = request;
    weighted.weights = memory_->ones.data();
    weighted_sum(weighted, out);
  }
  void sum_nested(const machine::NestedSum& sum, std::byte* out) {
    memory_->sum.resize(static_cast<std::size_t>(sum.hidden));
    auto* inner = reinterpret_cast<std::byte*>(memory_->sum.data());
    if (sum.num_inner > 0) {
      weighted_sum({sum.rows, sum.weights, sum.num_inner, sum.hidden, CombineFormat::kBf16}, inner);
    }
    memory_->terms.assign(sum.rows + sum.num_inner, sum.rows + sum.num_inner + sum.num_plain);
    if (sum.num_inner > 0) memory_->terms.insert(memory_->terms.begin() + sum.inner_at, inner);
    sum_rows({memory_->terms.data(), nullptr, static_cast<int>(memory_->terms.size()), sum.hidden,
              CombineFormat::kBf16},
             {}, out);
  }
  void send_nested(const machine::NestedSum& sum, int rank, std::int64_t offset) {
    std::byte* staging = staging_of(2 * static_cast<std::size_t>(sum.hidden));
    sum_nested(sum, staging);
    send_row({staging, 2 * std::int64_t{sum.hidden}}, rank, offset);
  }

 protected:
  std::byte* peer_block(int rank) const { return context_.peer(rank); }

 private:
  void count_bytes(int rank, std::uint64_t bytes) { bytes_[context_.distance(rank)] += bytes; }
  std::byte* staging_of(std::size_t bytes) {
    if (memory_->staging.size() < bytes) memory_->staging.resize(bytes);
    return memory_->staging.data();
  }

  RankContext& context_;
  Kind kind_;
  WorkerPlace place_;
  std::unique_ptr<WorkerMemory> memory_;
  const std::byte* row_ = nullptr;  // that was begun
  std::uint64_t bytes_[3] = {0, 0, 0};
  std::uint64_t messages_[3] = {0, 0, 0};
};

static_assert(machine::Machine<CpuMachine>);

}  // namespace braid::cpu
