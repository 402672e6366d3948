// Proves that ThreadSanitizer sees each release that high throughput needs: the same roles on a
// machine that weakens one of them must be reported. Built under ThreadSanitizer only; its tests
// expect the reports.
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <thread>
#include <vector>

#include "backend/cpu/machine.hpp"
#include "layout/scratch.hpp"
#include "protocol/throughput_combine.hpp"
#include "protocol/throughput_dispatch.hpp"
#include "protocol/throughput_layout.hpp"

namespace braid {
namespace {

using layout::Region;
using machine::Word;

constexpr int kRanks = 2, kWorkers = 2, kDispatches = 5;

constexpr layout::ThroughputShape shape_of() {
  layout::ThroughputShape shape;
  shape.num_ranks = kRanks;
  shape.num_experts = 4;
  shape.max_tokens = 70;  // more than a chunk
  shape.hidden = 256;
  shape.top_k = 1;
  shape.expanded = true;
  return shape;
}
constexpr layout::ThroughputShape kShape = shape_of();
constexpr layout::ThroughputMap kMap = layout::ThroughputMap::of(kShape);
constexpr layout::ThroughputLocalMap kLocalMap = layout::ThroughputLocalMap::of(kShape);

// How rows come home after each dispatch, if they do.
enum class Home { kNowhere, kBySource, kByExpert };

enum class Weak { kNothing, kChunks, kArrived, kReturned, kReceived, kLastWorker, kPublish };

constexpr bool is_in(std::int64_t offset, const Region& region) {
  return offset >= region.offset && offset < region.offset + region.bytes;
}
constexpr bool weakens(Weak weak, std::int64_t offset) {
  return (weak == Weak::kChunks && is_in(offset, kMap.chunk_flags)) ||
         (weak == Weak::kArrived && is_in(offset, kMap.arrived)) ||
         (weak == Weak::kReturned && is_in(offset, kMap.returned)) ||
         (weak == Weak::kReceived && is_in(offset, kMap.received));
}

template <Weak kWeak>
class WeakMachine : public cpu::CpuMachine {
 public:
  using CpuMachine::CpuMachine;
  void raise(int rank, std::int64_t offset, Word word) {
    if (weakens(kWeak, offset)) {
      post(rank, offset, word);  // the same word, relaxed
    } else {
      CpuMachine::raise(rank, offset, word);
    }
  }
  bool last_worker(std::uint32_t* counter) const {
    if constexpr (kWeak != Weak::kLastWorker) return CpuMachine::last_worker(counter);
    const std::atomic_ref<std::uint32_t> done(*counter);
    if (done.fetch_add(1, std::memory_order_relaxed) + 1 != kWorkers) return false;
    done.store(0, std::memory_order_relaxed);
    return true;
  }
  static void publish(Word* word, Word value) {
    if constexpr (kWeak != Weak::kPublish) return CpuMachine::publish(word, value);
    std::atomic_ref<Word>(*word).store(value, std::memory_order_relaxed);
  }
};

// Rank 0's tokens go to rank 1, which has some of its own only where rows are to come back: what
// they bring along would order what `received` is there for.
class Rank {
 public:
  Rank(int rank, int num_tokens)
      : rank_(rank),
        num_tokens_(num_tokens),
        symmetric_(static_cast<std::size_t>(kMap.total_bytes)),
        local_(static_cast<std::size_t>(kLocalMap.total_bytes)),
        record_(static_cast<std::size_t>(layout::ReceivedMap::of(kShape).stride)),
        idx_(static_cast<std::size_t>(num_tokens), rank == 0 ? 3 : 0),
        x_(static_cast<std::size_t>(num_tokens * kShape.hidden), 0x3F80),
        rows_(static_cast<std::size_t>(kShape.expanded_capacity(1) * kShape.hidden)),
        out_(x_.size()),
        weights_(static_cast<std::size_t>(kShape.row_capacity()), 1.0F) {
    auto* active = reinterpret_cast<std::uint32_t*>(local_.data() + kLocalMap.active.offset);
    for (int other = 0; other < kRanks; ++other) active[other] = 1;
  }

  std::byte* block() { return symmetric_.data(); }

  template <class M>
  void run(const std::vector<std::byte*>& peers, Home home) {
    SymmetricMemory memory;
    memory.bytes = symmetric_.size();
    memory.peers = peers;
    memory.local = symmetric_.data();
    cpu::RankContext context(rank_, kMap.control_map(), memory, 20000);
    std::thread host([this, &context] { read_record(context); });
    run_workers<M>(context, [this](M& m) { protocol::layout_routing(m, layout_args()); });
    host.join();
    for (int pass = 0; pass < kDispatches; ++pass) {
      run_workers<M>(context, [this](M& m) { protocol::dispatch_rows(m, dispatch_args()); });
      if (home == Home::kNowhere) continue;
      run_workers<M>(context, [&](M& m) { protocol::combine_rows(m, combine_args(home)); });
    }
    if (context.failed()) std::exit(3);
  }

 private:
  // As the engine does: the rank's workers begin together, and all have ended before the next.
  template <class M, class Role>
  static void run_workers(cpu::RankContext& context, Role role) {
    std::vector<std::thread> workers;
    for (int worker = 0; worker < kWorkers; ++worker) {
      workers.emplace_back([&context, role, worker] {
        M m(context, cpu::Kind::kDispatch,
            {worker, kWorkers,
             max_of(layout::layout_scratch_bytes(kShape, M::num_warps()),
                    layout::row_scratch_bytes(kShape, M::num_warps()))});
        role(m);
      });
    }
    for (std::thread& worker : workers) worker.join();
  }

  // As the host does that waits for what a layout brings.
  void read_record(const cpu::RankContext& context) {
    const std::atomic_ref<Word> word(*reinterpret_cast<Word*>(record_.data()));
    while (word.load(std::memory_order_acquire) != 1) {
      if (context.failed()) std::exit(3);
      std::this_thread::yield();
    }
    const auto at = layout::ReceivedMap::of(kShape);
    const auto* sources = reinterpret_cast<const std::uint32_t*>(record_.data() + at.sources_at);
    std::printf("%u rows come from rank 0\n", sources[0]);
  }

  protocol::ThroughputArgs op() { return {kMap, kLocalMap, local_.data(), 0}; }
  protocol::LayoutArgs layout_args() {
    protocol::LayoutArgs args;
    args.op = op();
    args.experts = {kShape.num_experts, kRanks, 1};
    args.topk = {idx_.data(), false, num_tokens_, 1, kShape.num_experts};
    args.record = record_.data();
    args.number = 1;
    return args;
  }
  protocol::RowsDispatchArgs dispatch_args() {
    protocol::RowsDispatchArgs args;
    args.op = op();
    args.num_tokens = num_tokens_;
    args.x = reinterpret_cast<const std::byte*>(x_.data());
    args.out_x = reinterpret_cast<std::byte*>(rows_.data());
    args.num_rows = kShape.row_capacity();
    return args;
  }
  protocol::RowsCombineArgs combine_args(Home home) {
    protocol::RowsCombineArgs args;
    args.expanded = home == Home::kByExpert;
    if (args.expanded) args.weights = weights_.data();
    args.op = op();
    args.num_tokens = num_tokens_;
    args.x = rows_.data();
    args.out = out_.data();
    return args;
  }

  int rank_, num_tokens_;
  std::vector<std::byte> symmetric_, local_, record_;
  std::vector<std::int32_t> idx_;
  std::vector<std::uint16_t> x_, rows_, out_;
  std::vector<float> weights_;
};

template <Weak kWeak, Home kHome = Home::kBySource>
void run() {
  const bool one_way = kWeak == Weak::kReceived;
  Rank ranks[] = {Rank(0, kShape.max_tokens), Rank(1, one_way ? 0 : kShape.max_tokens)};
  const std::vector<std::byte*> peers{ranks[0].block(), ranks[1].block()};
  std::vector<std::thread> threads;
  for (Rank& rank : ranks) {
    threads.emplace_back([&rank, &peers] {
      rank.run<WeakMachine<kWeak>>(peers, kWeak == Weak::kReceived ? Home::kNowhere : kHome);
    });
  }
  for (std::thread& thread : threads) thread.join();
}

struct Named {
  const char* name;
  void (*run)();
};
constexpr Named kRuns[] = {{"strong", run<Weak::kNothing>},
                           {"strong_by_expert", run<Weak::kNothing, Home::kByExpert>},
                           {"returned_by_expert", run<Weak::kReturned, Home::kByExpert>},
                           {"chunks", run<Weak::kChunks>},
                           {"arrived", run<Weak::kArrived>},
                           {"returned", run<Weak::kReturned>},
                           {"received", run<Weak::kReceived>},
                           {"last_worker", run<Weak::kLastWorker>},
                           {"publish", run<Weak::kPublish>}};

}  // namespace
}  // namespace braid

int main(int argc, char** argv) {
  for (const auto& [name, run] : braid::kRuns) {
    if (argc != 2 || std::string(argv[1]) != name) continue;
    run();
    std::puts("ran to its end");
    return 0;
  }
  std::fputs("usage: throughput_canary strong, or the release to weaken\n", stderr);
  return 2;
}
