#include "gpu/role_case.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <random>

#include "backend/cpu/roles.hpp"
#include "codec/bfloat16.hpp"

namespace braid::gpu_test {
namespace {

// The token's experts: distinct ones, unless the routing says otherwise.
void route_token(const CaseShape& shape, std::mt19937& random, std::int32_t* experts) {
  const auto count = static_cast<std::size_t>(shape.top_k);
  std::vector<std::int32_t> all(static_cast<std::size_t>(shape.num_experts));
  for (std::size_t i = 0; i < all.size(); ++i) all[i] = static_cast<std::int32_t>(i);
  std::shuffle(all.begin(), all.end(), random);
  for (std::size_t i = 0; i < count; ++i) {
    experts[i] = all[i % all.size()];
    if (shape.routing == Routing::kOneExpert) experts[i] = i == 0 ? shape.num_experts - 1 : -1;
    if (shape.routing == Routing::kMasked && random() % 3 == 0) experts[i] = -1;
    if (shape.routing == Routing::kRepeated && i > 0 && random() % 2 == 0) {
      experts[i] = experts[random() % i];
    }
  }
}

template <class T>
std::string first_difference(const char* what, const T* got, const T* expected,
                             std::int64_t count) {
  if (count == 0 || std::memcmp(got, expected, static_cast<std::size_t>(count) * sizeof(T)) == 0) {
    return {};
  }
  const auto [at, other] = std::mismatch(got, got + count, expected);
  return fmt::format("{}: element {} is {}, not {}", what, at - got, static_cast<int>(*at),
                     static_cast<int>(*other));
}

}  // namespace

layout::BufferShape CaseShape::buffer() const {
  layout::BufferShape buffer;
  buffer.num_ranks = num_ranks;
  buffer.num_experts = num_experts;
  buffer.max_tokens = max_tokens;
  buffer.hidden = hidden;
  buffer.top_k = top_k;
  buffer.max_rounds = rounds;
  buffer.handle_slots = handle_slots;
  buffer.per_expert_copies = per_expert;
  buffer.widest_dispatch = format;
  buffer.few_tokens = few_tokens;
  return buffer;
}

std::int64_t CaseShape::num_rows() const {
  return num_experts / num_ranks * buffer().row_capacity();
}
std::int64_t CaseShape::data_bytes() const {
  return num_rows() * codec::dispatch_data_bytes(format, hidden);
}
std::int64_t CaseShape::scale_bytes() const {
  return num_rows() * codec::dispatch_scale_bytes(format, hidden);
}
std::int64_t CaseShape::expert_bytes() const { return num_rows() * hidden * 2; }
std::int64_t CaseShape::token_bytes() const { return std::int64_t{num_tokens} * hidden * 2; }

std::vector<RankInput> make_inputs(const CaseShape& shape) {
  std::vector<RankInput> inputs(static_cast<std::size_t>(shape.num_ranks));
  std::mt19937 random(shape.seed);
  std::normal_distribution<float> normal;
  const auto tokens = static_cast<std::size_t>(shape.num_tokens);
  const auto k = static_cast<std::size_t>(shape.top_k);
  for (RankInput& input : inputs) {
    input.x.resize(tokens * static_cast<std::size_t>(shape.hidden));
    for (std::uint16_t& value : input.x) value = codec::float_to_bf16(normal(random));
    // A group of zeros and one with an infinity, where there are groups.
    if (tokens > 1 && shape.hidden >= 2 * kScaleGroup) {
      std::fill_n(input.x.begin(), kScaleGroup, std::uint16_t{0});
      input.x[static_cast<std::size_t>(shape.hidden) + 3] = codec::kBf16Infinity;
    }
    input.topk.resize(tokens * k);
    input.weights.resize(tokens * k);
    for (std::size_t t = 0; t < tokens; ++t) route_token(shape, random, input.topk.data() + t * k);
    for (float& weight : input.weights) weight = normal(random);
  }
  return inputs;
}

protocol::DispatchArgs dispatch_args(const CaseShape& shape) {
  protocol::DispatchArgs args;
  args.op.map = layout::BufferMap::of(shape.buffer());
  args.op.local_map = layout::LocalMap::of(shape.buffer());
  args.rules.experts = {shape.num_experts, shape.num_ranks, shape.rounds};
  args.rules.per_expert = shape.per_expert;
  args.topk.num_tokens = shape.num_tokens;
  args.topk.k = shape.top_k;
  args.topk.num_experts = shape.num_experts;
  args.format = shape.format;
  args.scale_layout = shape.scale_layout;
  return args;
}

protocol::CombineArgs combine_args(const CaseShape& shape) {
  const protocol::DispatchArgs dispatch = dispatch_args(shape);
  protocol::CombineArgs args;
  args.op = dispatch.op;
  args.experts = {shape.num_experts, shape.num_ranks, shape.rounds};
  args.topk = dispatch.topk;
  args.format = shape.combine_format;
  args.at_expert_rank = shape.at_expert_rank;
  return args;
}

std::vector<std::uint16_t> expert_rows(const CaseShape& shape, int rank) {
  // A pool of random values, copied from another place for each row.
  std::mt19937 random(shape.seed + 1000 + static_cast<std::uint32_t>(rank));
  std::normal_distribution<float> normal(0.0F, 0.2F);
  const auto hidden = static_cast<std::size_t>(shape.hidden);
  std::vector<std::uint16_t> pool(64 * hidden + 4096);
  for (std::uint16_t& value : pool) value = codec::float_to_bf16(normal(random));
  std::vector<std::uint16_t> rows(static_cast<std::size_t>(shape.expert_bytes() / 2));
  for (std::size_t row = 0; row * hidden < rows.size(); ++row) {
    const std::size_t from = random() % (pool.size() - hidden);
    std::memcpy(rows.data() + row * hidden, pool.data() + from, hidden * 2);
  }
  return rows;
}

BlockSizes block_sizes(const CaseShape& shape) {
  const auto local = layout::LocalMap::of(shape.buffer());
  return {shape.num_ranks, layout::BufferMap::of(shape.buffer()).total_bytes, local.total_bytes,
          local.active.offset};
}

std::vector<std::byte> fresh_local(const BlockSizes& sizes) {
  std::vector<std::byte> local(static_cast<std::size_t>(sizes.local_bytes));
  for (int rank = 0; rank < sizes.num_ranks; ++rank) {
    const std::uint32_t active = 1;
    std::memcpy(local.data() + sizes.active_at + rank * std::int64_t{4}, &active, 4);
  }
  return local;
}

namespace {

void combine_on_cpu(const CaseShape& shape, const std::vector<RankInput>& inputs,
                    const std::vector<const std::uint16_t*>& rows,
                    const std::vector<std::unique_ptr<cpu::RankContext>>& contexts,
                    std::vector<RankOutput>& outputs) {
  std::vector<protocol::CombineArgs> args(outputs.size(), combine_args(shape));
  for (std::size_t r = 0; r < args.size(); ++r) {
    outputs[r].combined.resize(static_cast<std::size_t>(shape.token_bytes() / 2));
    args[r].op.local = outputs[r].local.data();
    args[r].topk.idx = inputs[r].topk.data();
    args[r].weights = inputs[r].weights.data();
    args[r].x = rows[r];
    args[r].out = outputs[r].combined.data();
  }
  for (int round = 0; round < shape.rounds; ++round) {
    for (std::size_t r = 0; r < args.size(); ++r) {
      cpu::run_combine_send(*contexts[r], args[r], round, 0, 1);
    }
  }
  for (std::size_t r = 0; r < args.size(); ++r) {
    cpu::run_combine_receive(*contexts[r], args[r], 0, 1);
  }
}

}  // namespace

std::vector<RankOutput> reference(const CaseShape& shape, const std::vector<RankInput>& inputs,
                                  const std::vector<const std::uint16_t*>& rows) {
  const auto ranks = static_cast<std::size_t>(shape.num_ranks);
  protocol::DispatchArgs common = dispatch_args(shape);
  std::vector<std::vector<std::byte>> blocks(ranks);
  SymmetricMemory memory;
  memory.bytes = static_cast<std::size_t>(common.op.map.total_bytes);
  for (auto& block : blocks) {
    block.resize(memory.bytes);
    memory.peers.push_back(block.data());
  }
  std::vector<RankOutput> outputs(ranks);
  std::vector<protocol::DispatchArgs> args(ranks, common);
  std::vector<std::unique_ptr<cpu::RankContext>> contexts;
  for (std::size_t r = 0; r < ranks; ++r) {
    RankOutput& out = outputs[r];
    out.x.resize(static_cast<std::size_t>(shape.data_bytes()), std::byte{kPoison});
    out.scales.resize(static_cast<std::size_t>(shape.scale_bytes()), std::byte{kPoison});
    out.counts.resize(static_cast<std::size_t>(shape.num_experts / shape.num_ranks));
    out.local = fresh_local(block_sizes(shape));
    args[r].op.local = out.local.data();
    args[r].x = inputs[r].x.data();
    args[r].topk.idx = inputs[r].topk.data();
    args[r].weights = inputs[r].weights.data();
    args[r].out_x = out.x.data();
    args[r].out_scales = out.scales.data();
    args[r].out_counts = out.counts.data();
    memory.local = blocks[r].data();
    contexts.push_back(std::make_unique<cpu::RankContext>(
        static_cast<int>(r), common.op.map.control_map(), memory, std::int64_t{30000}));
  }
  for (int round = 0; round < shape.rounds; ++round) {
    for (std::size_t r = 0; r < ranks; ++r) {
      cpu::run_dispatch_send(*contexts[r], args[r], round, 0, 1);
    }
    for (std::size_t r = 0; r < ranks; ++r) {
      cpu::run_dispatch_receive(*contexts[r], args[r], round, 0, 1);
    }
  }
  if (!rows.empty()) combine_on_cpu(shape, inputs, rows, contexts, outputs);
  return outputs;
}

std::string difference(const CaseShape& shape, const RankOutput& got, const RankOutput& expected) {
  const layout::LocalMap map = layout::LocalMap::of(shape.buffer());
  const auto bytes = [](const std::vector<std::byte>& all, std::int64_t at) {
    return reinterpret_cast<const std::uint8_t*>(all.data()) + at;
  };
  std::string found = first_difference("counts", got.counts.data(), expected.counts.data(),
                                       static_cast<std::int64_t>(expected.counts.size()));
  if (found.empty()) {
    found = first_difference("x", bytes(got.x, 0), bytes(expected.x, 0), shape.data_bytes());
  }
  if (found.empty()) {
    found = first_difference("scales", bytes(got.scales, 0), bytes(expected.scales, 0),
                             shape.scale_bytes());
  }
  const auto compare = [&](const char* what, std::int64_t at, std::int64_t count) {
    if (found.empty()) {
      found = first_difference(what, bytes(got.local, at), bytes(expected.local, at), count);
    }
  };
  const int num_local = shape.num_experts / shape.num_ranks;
  compare("expert counts", map.expert_count(0, 0), num_local * std::int64_t{4});
  for (int expert = 0; expert < num_local && found.empty(); ++expert) {
    compare("origins", map.origin(0, expert, 0),
            expected.counts[static_cast<std::size_t>(expert)] *
                static_cast<std::int64_t>(sizeof(layout::RowOrigin)));
  }
  // A term is there when its epoch is the dispatch's; others are left from earlier ones.
  const auto terms_of = [&](const std::vector<std::byte>& local) {
    std::vector<layout::SumTerm> terms(static_cast<std::size_t>(shape.num_ranks) *
                                       static_cast<std::size_t>(map.terms_per_source()));
    std::memcpy(terms.data(), bytes(local, map.term(0, 0, 0)),
                terms.size() * sizeof(layout::SumTerm));
    std::uint32_t dispatched = 0;
    std::memcpy(&dispatched, bytes(local, map.record(0)), 4);
    for (layout::SumTerm& term : terms) {
      term = term.epoch == dispatched ? term : layout::SumTerm{};
      term.epoch = term.epoch == 0 ? 0 : 1;
    }
    return terms;
  };
  if (found.empty()) {
    const auto mine = terms_of(got.local), theirs = terms_of(expected.local);
    found = first_difference("terms", reinterpret_cast<const std::uint8_t*>(mine.data()),
                             reinterpret_cast<const std::uint8_t*>(theirs.data()),
                             static_cast<std::int64_t>(mine.size() * sizeof(layout::SumTerm)));
  }
  return found;
}

}  // namespace braid::gpu_test
