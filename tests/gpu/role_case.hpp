// A dispatch between ranks and its combine: input by rank, and what the CPU machine makes of it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "layout/local.hpp"
#include "protocol/args.hpp"

namespace braid::gpu_test {

enum class Routing { kRandom, kOneExpert, kMasked, kRepeated };

struct CaseShape {
  int num_ranks = 2;
  int num_experts = 64;
  int max_tokens = 128;
  int num_tokens = 128;  // of each rank
  int hidden = 7168;
  int top_k = 8;
  int rounds = 1;
  bool per_expert = false;
  DispatchFormat format = DispatchFormat::kFp8;
  ScaleLayout scale_layout = ScaleLayout::kRowMajor;
  Routing routing = Routing::kRandom;
  bool at_expert_rank = true;  // combine
  CombineFormat combine_format = CombineFormat::kBf16;
  int handle_slots = 1;
  int few_tokens = 0;
  std::uint32_t seed = 1;

  layout::BufferShape buffer() const;
  std::int64_t data_bytes() const;    // of out_x
  std::int64_t scale_bytes() const;   // of out_scales
  std::int64_t num_rows() const;      // of the experts, at a rank
  std::int64_t expert_bytes() const;  // of their outputs
  std::int64_t token_bytes() const;   // of a rank's tokens
};

struct RankInput {
  std::vector<std::uint16_t> x;
  std::vector<std::int32_t> topk;
  std::vector<float> weights;
};

// What a dispatch leaves at a rank. Bytes that it does not write keep kPoison.
struct RankOutput {
  std::vector<std::byte> x, scales;
  std::vector<std::int32_t> counts;
  std::vector<std::byte> local;         // the local block
  std::vector<std::uint16_t> combined;  // where combine was asked for
};

inline constexpr int kPoison = 0xa5;

std::vector<RankInput> make_inputs(const CaseShape& shape);

// Arguments without pointers.
protocol::DispatchArgs dispatch_args(const CaseShape& shape);
protocol::CombineArgs combine_args(const CaseShape& shape);

// A rank's experts' outputs, for every row that there may be.
std::vector<std::uint16_t> expert_rows(const CaseShape& shape, int rank);

// All ranks' dispatch on the CPU machine, one after another; and, given each rank's experts'
// outputs, their combine.
std::vector<RankOutput> reference(const CaseShape& shape, const std::vector<RankInput>& inputs,
                                  const std::vector<const std::uint16_t*>& rows = {});

// Of a dispatch: empty where they are the same; else the first difference, in words.
std::string difference(const CaseShape& shape, const RankOutput& got, const RankOutput& expected);

// Of a rank's blocks, of either kind of buffer.
struct BlockSizes {
  int num_ranks = 1;
  std::int64_t symmetric_bytes = 0;
  std::int64_t local_bytes = 0;
  std::int64_t active_at = 0;  // in the local block
};
BlockSizes block_sizes(const CaseShape& shape);

// A local block with every rank active.
std::vector<std::byte> fresh_local(const BlockSizes& sizes);

}  // namespace braid::gpu_test
