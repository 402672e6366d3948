#include "unit/executor/moe_fixture.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <iterator>
#include <numeric>
#include <random>

#include "codec/bfloat16.hpp"
#include "codec/row.hpp"
#include "support/ranks.hpp"

namespace braid::test {
namespace {

constexpr int kWidth = 32;

BufferOptions buffer_options(const MoeCase& of, const BufferNeeds& needs) {
  BufferOptions options;
  options.num_experts = kMoeExperts;
  options.max_tokens = of.max_tokens();
  options.hidden = kMoeHidden;
  options.top_k = kMoeTopK;
  options.depth = needs.depth;
  options.max_rounds = needs.max_rounds;
  options.handle_slots = needs.handle_slots;
  return options;
}

Rows random_bf16(std::size_t count, unsigned seed, float scale) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0.0F, scale);
  Rows values(count);
  for (auto& value : values) value = codec::float_to_bf16(normal(random));
  return values;
}

constexpr std::int64_t kMatrix = std::int64_t{kMoeHidden} * kWidth;

// `count` experts from the first on; the one behind all of them is shared.
std::vector<ExpertWeights> weights_of(const Rows& weights, int first, int count) {
  std::vector<ExpertWeights> experts;
  for (int expert = first; expert < first + count; ++expert) {
    const std::uint16_t* own = weights.data() + 3 * expert * kMatrix;
    WeightView gate{.data = own, .rows = kWidth, .cols = kMoeHidden};
    WeightView up{.data = own + kMatrix, .rows = kWidth, .cols = kMoeHidden};
    WeightView down{.data = own + 2 * kMatrix, .rows = kMoeHidden, .cols = kWidth};
    experts.push_back({gate, up, down});
  }
  return experts;
}

// Different experts, and weights, that depend on nothing but the row.
void choose(const std::uint16_t* row, std::int64_t* idx, float* weights) {
  unsigned seed = 1;
  for (int i = 0; i < 8; ++i) seed = seed * 31 + row[i];
  std::mt19937 random(seed);
  std::array<std::int64_t, kMoeExperts> experts{};
  std::iota(experts.begin(), experts.end(), std::int64_t{0});
  for (std::size_t k = 0; k < kMoeTopK; ++k) {
    std::swap(experts[k], experts[k + random() % (experts.size() - k)]);
    idx[k] = experts[k];
    weights[k] = 0.1F + 0.2F * static_cast<float>(k + 1);
  }
}

}  // namespace

Topology MoeCase::topology() const {
  const int ranks = static_cast<int>(tokens.size());
  return {ranks, ranks_per_node == 0 ? ranks : ranks_per_node};
}

int MoeCase::max_tokens() const { return *std::max_element(tokens.begin(), tokens.end()); }

Rows random_tokens(int rank, int count) {
  return random_bf16(static_cast<std::size_t>(count) * kMoeHidden, static_cast<unsigned>(rank) + 1,
                     1.0F);
}

MoeRank::MoeRank(Group& group, const MoeCase& of, const BufferNeeds& needs)
    : case_(of),
      buffer_(group, buffer_options(of, needs)),
      weights_(random_bf16((kMoeExperts + 1) * 3 * kMatrix, 99, 0.15F)),
      experts_(weights_of(weights_, group.rank() * (kMoeExperts / of.topology().num_ranks),
                          kMoeExperts / of.topology().num_ranks),
               {.block_rows = kMoeBlockRows}),
      shared_(weights_of(weights_, kMoeExperts, 1)),
      capacity_(std::int64_t{of.topology().num_ranks} * of.max_tokens()),
      num_tokens_(of.tokens[static_cast<std::size_t>(group.rank())]),
      num_local_(experts_.num_experts()) {
  const auto n = static_cast<std::size_t>(num_tokens_);
  outputs_.resize(static_cast<std::size_t>(of.layers));
  topk_idx_.resize(n * kMoeTopK + 1);
  topk_weights_.resize(n * kMoeTopK + 1);
  shared_out_.resize(n * kMoeHidden + 1);
  CombineOptions combine;
  combine.signal_threshold = of.signal_threshold;
  bind_moe(bindings_, buffer_, {{.format = of.format}, combine});
  app::bind_cpu_experts(bindings_, {.experts = &experts_, .shared = &shared_, .format = of.format});
  bindings_.bind(OperationKind::kGate, [this](OperationContext& context) { gate(context); });
  bindings_.bind(OperationKind::kAttention, [](OperationContext&) {});
  bindings_.bind(OperationKind::kCustom, [](OperationContext&) {});
}

void MoeRank::gate(OperationContext& context) const {
  const auto x = context.state.get<Tensor>("x");
  const auto memory = context.state.get<MoeMemory>("memory");
  context.stream.run([x, memory] {
    for (std::int64_t i = 0; i < x.dim(0); ++i) {
      choose(x.as<const std::uint16_t>() + i * kMoeHidden,
             memory.topk_idx.as<std::int64_t>() + i * kMoeTopK,
             memory.topk_weights.as<float>() + i * kMoeTopK);
    }
  });
}

// Rows [begin, end) of an array with kMoeTopK or kMoeHidden elements a row.
Tensor MoeRank::part(void* data, DType dtype, const Range& range) const {
  const bool choices = dtype == DType::kInt64 || data == topk_weights_.data();
  const std::int64_t width = choices ? kMoeTopK : kMoeHidden;
  auto* first = static_cast<std::byte*>(data) +
                static_cast<std::size_t>(range.begin * width) * element_bytes(dtype);
  return {first, dtype, {range.size(), width}};
}

Range MoeRank::range_of(int batch) const {
  if (memories_.size() == 1) return {0, num_tokens_};
  const BatchSplit split = split_decode(num_tokens_, 1);
  return batch == 0 ? Range{0, split.tokens} : Range{split.tokens, num_tokens_};
}

DispatchOutput MoeRank::received(Memory& memory) const {
  DispatchOutput output;
  const bool fp8 = case_.format == DispatchFormat::kFp8;
  output.x = {memory.x.data(),
              fp8 ? DType::kFloat8E4M3 : DType::kBFloat16,
              {num_local_, capacity_, kMoeHidden}};
  if (fp8) {
    output.scales = {memory.scales.data(), DType::kFloat32, {num_local_, capacity_, 1}};
  }
  output.counts = {memory.counts.data(), DType::kInt32, {num_local_}};
  return output;
}

void MoeRank::prepare(State& state, int batch, int layer) {
  const Range range = range_of(batch);
  Rows& output = outputs_[static_cast<std::size_t>(layer)];
  Memory& memory = *std::next(memories_.begin(), batch);
  if (layer == 0) state.set("x", part(x_.data(), DType::kBFloat16, range));
  state.set("shared_memory", part(shared_out_.data(), DType::kFloat32, range));
  state.set(
      "memory",
      MoeMemory{.topk_idx = part(topk_idx_.data(), DType::kInt64, range),
                .topk_weights = part(topk_weights_.data(), DType::kFloat32, range),
                .received = received(memory),
                .rows = {memory.rows.data(), DType::kBFloat16, {num_local_, capacity_, kMoeHidden}},
                .output = part(output.data(), DType::kBFloat16, range),
                .block_signals = {memory.signals.data(),
                                  DType::kInt32,
                                  {num_local_, ceil_div<std::int64_t>(capacity_, kMoeBlockRows)}}});
}

Rows MoeRank::run(const Schedule& schedule, const Rows& x, int micro_batches) {
  x_ = x;
  x_.push_back(0);  // never without memory
  for (Rows& output : outputs_) output.assign(x_.size(), 0xffff);
  const auto rows = static_cast<std::size_t>(num_local_ * capacity_);
  memories_.clear();
  for (int batch = 0; batch < micro_batches; ++batch) {
    Memory& memory = memories_.emplace_back();
    memory.x.resize(rows * kMoeHidden * 2);
    memory.scales.resize(rows * 4);
    memory.rows.resize(rows * kMoeHidden);
    memory.counts.resize(static_cast<std::size_t>(num_local_));
    memory.signals.assign(rows, -1);  // what a run doesn't zero it waits for in vain
  }
  braid::run(schedule, bindings_,
             {.stream = {}, .prepare = [&](State& state, int batch, int layer) {
                prepare(state, batch, layer);
              }});
  Rows result = outputs_.back();
  result.pop_back();
  return result;
}

std::vector<Rows> run_moe(const MoeCase& of, const Schedule& schedule, int micro_batches) {
  std::vector<Rows> outputs(of.tokens.size());
  const auto failures = testing::run_ranks(
      of.topology(), {.timeout_ms = of.timeout_ms, .devices = {}}, [&](Group& group) {
        const auto rank = static_cast<std::size_t>(group.rank());
        MoeRank moe(group, of, buffer_needs(schedule));
        outputs[rank] =
            moe.run(schedule, random_tokens(group.rank(), of.tokens[rank]), micro_batches);
      });
  for (const std::string& failure : failures) EXPECT_EQ(failure, "") << schedule.name;
  return outputs;
}

}  // namespace braid::test
