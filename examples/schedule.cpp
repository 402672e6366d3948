// Per-expert overlap with kernels of one's own: the schedule says what runs when and on which lane,
// Braid moves tokens, and the callables bound here compute. Two ranks, each a thread.
#include <braid/executor.hpp>
#include <braid/moe.hpp>
#include <braid/overlap.hpp>

#include <cstdint>
#include <cstdio>
#include <thread>
#include <vector>

namespace {

constexpr int kRanks = 2, kExperts = 8, kLocal = kExperts / kRanks;
constexpr int kTokens = 4, kHidden = 256, kTopK = 2, kCapacity = kRanks * kTokens;
constexpr int kWorkers = 3;  // of a rank's device
constexpr std::uint16_t kTwo = 0x4000;

// One rank. Returns whether every token came home as it went.
bool run_rank(braid::Group& group) {
  const braid::Schedule schedule = braid::per_expert_overlap({.parts = {.device_sms = kWorkers},
                                                              .method = 3,
                                                              .rounds = 2,
                                                              .send_sms = 1,
                                                              .receive_sms = 1});
  const braid::BufferNeeds needs = braid::buffer_needs(schedule);
  braid::BufferOptions options;
  options.num_experts = kExperts;
  options.max_tokens = kTokens;
  options.hidden = kHidden;
  options.top_k = kTopK;
  options.depth = needs.depth;
  options.max_rounds = needs.max_rounds;
  braid::Buffer buffer(group, options);

  std::vector<std::uint16_t> x(kTokens * kHidden, kTwo), out(x.size());
  std::vector<std::uint16_t> received(kLocal * kCapacity * kHidden), rows(received.size());
  std::vector<std::int64_t> experts(kTokens * kTopK);
  std::vector<float> weights(experts.size());
  std::vector<std::int32_t> counts(kLocal);
  const auto bf16 = braid::DType::kBFloat16;
  braid::MoeMemory memory;
  memory.topk_idx = {experts.data(), braid::DType::kInt64, {kTokens, kTopK}};
  memory.topk_weights = {weights.data(), braid::DType::kFloat32, {kTokens, kTopK}};
  memory.received.x = {received.data(), bf16, {kLocal, kCapacity, kHidden}};
  memory.received.counts = {counts.data(), braid::DType::kInt32, {kLocal}};
  memory.rows = {rows.data(), bf16, {kLocal, kCapacity, kHidden}};
  memory.output = {out.data(), bf16, {kTokens, kHidden}};

  braid::Bindings bindings;
  braid::MoeOptions moe;
  moe.dispatch.format = braid::DispatchFormat::kBf16;
  braid::bind_moe(bindings, buffer, moe);
  // A callable enqueues on the stream of its operation's lane, and captures what its work needs.
  bindings.bind(braid::OperationKind::kGate, [&](braid::OperationContext& context) {
    context.stream.run([&] {
      for (int i = 0; i < kTokens * kTopK; ++i) {
        experts[static_cast<std::size_t>(i)] = (i * 3 + group.rank()) % kExperts;
        weights[static_cast<std::size_t>(i)] = 0.5F;
      }
    });
  });
  bindings.bind(braid::OperationKind::kUpGemm, [&](braid::OperationContext& context) {
    const int per_round = kLocal / context.operation.num_rounds;
    const int first = context.operation.round * per_round;
    context.stream.run([&, first, per_round] {  // these experts return what they get
      for (int expert = first; expert < first + per_round; ++expert) {
        const int begin = expert * kCapacity * kHidden;
        const int end = begin + counts[static_cast<std::size_t>(expert)] * kHidden;
        for (int i = begin; i < end; ++i) {
          rows[static_cast<std::size_t>(i)] = received[static_cast<std::size_t>(i)];
        }
      }
    });
  });
  bindings.bind(braid::OperationKind::kActivation, [](braid::OperationContext&) {});
  bindings.bind(braid::OperationKind::kDownGemm, [](braid::OperationContext&) {});

  braid::ExecutorOptions inputs;
  inputs.prepare = [&](braid::State& state, int, int) {
    state.set("x", braid::Tensor(x.data(), bf16, {kTokens, kHidden}));
    state.set("memory", memory);
  };
  const braid::RunResult result = braid::run(schedule, bindings, inputs);

  if (group.rank() == 0) {
    for (std::size_t i = 0; i < schedule.operations.size(); ++i) {
      std::printf("%-22s %8.1f to %8.1f us\n",
                  braid::describe(schedule, static_cast<int>(i)).c_str(), result.times[i].start_us,
                  result.times[i].end_us);
    }
  }
  return out == x;
}

}  // namespace

int main() {
  std::vector<braid::Group> groups = braid::Group::threads({kRanks, kRanks});
  std::vector<char> well(kRanks);
  std::vector<std::thread> threads;
  for (std::size_t rank = 0; rank < kRanks; ++rank) {
    threads.emplace_back([&, rank] { well[rank] = run_rank(groups[rank]) ? 1 : 0; });
  }
  for (std::thread& thread : threads) thread.join();
  return well[0] != 0 && well[1] != 0 ? 0 : 1;
}
