// Proves that ThreadSanitizer sees a missing release: the same roles on a machine whose flags are
// raised relaxed, or beside a maker of rows that signals them relaxed, must be reported. Built
// under ThreadSanitizer only; its test expects the report.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "backend/cpu/machine.hpp"
#include "layout/scratch.hpp"
#include "protocol/combine.hpp"
#include "protocol/dispatch.hpp"
#include "protocol/dispatch_receive.hpp"

namespace braid {
namespace {

constexpr int kRanks = 2;
constexpr int kTokens = 8;
constexpr int kHidden = 256;

class WeakMachine : public cpu::CpuMachine {
 public:
  using CpuMachine::CpuMachine;
  void raise(int rank, std::int64_t offset, machine::Word word) {
    auto* flag = reinterpret_cast<machine::Word*>(peer_block(rank) + offset);
    std::atomic_ref<machine::Word>(*flag).store(word, std::memory_order_relaxed);
  }
};

struct RankMemory {
  explicit RankMemory(const layout::BufferMap& map, const layout::LocalMap& local_map)
      : symmetric(static_cast<std::size_t>(map.total_bytes)),
        local(static_cast<std::size_t>(local_map.total_bytes)) {
    auto* active = reinterpret_cast<std::uint32_t*>(local.data() + local_map.active.offset);
    for (int rank = 0; rank < kRanks; ++rank) active[rank] = 1;
  }
  std::vector<std::byte> symmetric, local;
};

// Sends the rows home while another thread makes them, and signals each with this order.
void combine_beside(cpu::RankContext& context, const protocol::DispatchArgs& dispatched,
                    std::memory_order order) {
  const layout::BufferShape& shape = dispatched.op.map.shape;
  auto* rows = reinterpret_cast<std::uint16_t*>(dispatched.out_x);
  std::vector<std::int32_t> signals(
      static_cast<std::size_t>(shape.num_local() * shape.blocks_of_expert(1)));
  std::vector<float> weights(kTokens, 1.0F);
  std::vector<std::uint16_t> out(kTokens * kHidden);
  protocol::CombineArgs args;
  args.op = dispatched.op;
  args.experts = dispatched.rules.experts;
  args.topk = dispatched.topk;
  args.block_rows = 1;
  args.signals = signals.data();
  args.signal_threshold = 1;
  args.x = rows;
  args.weights = weights.data();
  args.out = out.data();
  std::thread maker([&] {
    for (int expert = 0; expert < shape.num_local(); ++expert) {
      for (std::int32_t row = 0; row < dispatched.out_counts[expert]; ++row) {
        const std::int64_t at = expert * shape.row_capacity() + row;
        for (int i = 0; i < kHidden; ++i) rows[at * kHidden + i] ^= 0x8000;
        std::atomic_ref<std::int32_t>(signals[static_cast<std::size_t>(at)]).fetch_add(1, order);
      }
    }
  });
  cpu::CpuMachine m(context, cpu::Kind::kCombine,
                    {0, 1, layout::scratch_bytes(args.experts, args.topk.k)});
  protocol::combine_send(m, args, 0);
  maker.join();
  protocol::combine_receive(m, args);
}

struct Run {
  std::vector<RankMemory> memories;
  layout::BufferShape shape;
  std::memory_order signal_order;
};

template <class M>
void run_rank(int rank, Run& run) {
  const layout::BufferShape& shape = run.shape;
  const auto map = layout::BufferMap::of(shape);
  SymmetricMemory memory;
  memory.bytes = static_cast<std::size_t>(map.total_bytes);
  for (RankMemory& other : run.memories) memory.peers.push_back(other.symmetric.data());
  RankMemory& own = run.memories[static_cast<std::size_t>(rank)];
  memory.local = own.symmetric.data();
  cpu::RankContext context(rank, map.control_map(), memory, 20000);
  std::vector<std::uint16_t> x(kTokens * kHidden, static_cast<std::uint16_t>(0x3F80 + rank));
  std::vector<std::int32_t> idx(kTokens);
  for (int token = 0; token < kTokens; ++token) {
    idx[static_cast<std::size_t>(token)] = token % shape.num_experts;
  }
  const auto rows = static_cast<std::size_t>(shape.num_local() * shape.row_capacity());
  std::vector<std::byte> out(rows * kHidden * 2);
  std::vector<std::int32_t> counts(static_cast<std::size_t>(shape.num_local()));
  protocol::DispatchArgs args;
  args.op = {map, layout::LocalMap::of(shape), own.local.data(), 0, {}};
  args.rules = {{shape.num_experts, kRanks, 1}, false};
  args.topk = {idx.data(), false, kTokens, 1, shape.num_experts};
  args.format = DispatchFormat::kBf16;
  args.x = x.data();
  args.out_x = out.data();
  args.out_counts = counts.data();
  const cpu::WorkerPlace place{0, 1, layout::scratch_bytes(args.rules.experts, 1)};
  for (int epoch = 0; epoch < 4; ++epoch) {
    M m(context, cpu::Kind::kDispatch, place);
    protocol::dispatch_send(m, args, 0);
    protocol::dispatch_receive(m, args, 0);
  }
  combine_beside(context, args, run.signal_order);
  if (context.failed()) std::exit(3);
}

template <class M>
void run(std::memory_order signal_order) {
  Run run{.memories = {}, .shape = {}, .signal_order = signal_order};
  layout::BufferShape& shape = run.shape;
  shape.num_ranks = kRanks;
  shape.num_experts = 4;
  shape.max_tokens = kTokens;
  shape.hidden = kHidden;
  for (int rank = 0; rank < kRanks; ++rank) {
    run.memories.emplace_back(layout::BufferMap::of(shape), layout::LocalMap::of(shape));
  }
  std::vector<std::thread> threads;
  for (int rank = 0; rank < kRanks; ++rank) {
    threads.emplace_back([&, rank] { run_rank<M>(rank, run); });
  }
  for (std::thread& thread : threads) thread.join();
}

}  // namespace
}  // namespace braid

int main(int argc, char** argv) {
  const std::string which = argc == 2 ? argv[1] : "";
  if (which == "strong") {
    braid::run<braid::cpu::CpuMachine>(std::memory_order_release);
  } else if (which == "weak_flags") {
    braid::run<braid::WeakMachine>(std::memory_order_release);
  } else if (which == "weak_signals") {
    braid::run<braid::cpu::CpuMachine>(std::memory_order_relaxed);
  } else {
    std::fputs("usage: conformance_canary strong|weak_flags|weak_signals\n", stderr);
    return 2;
  }
  std::puts("ran to its end");
  return 0;
}
