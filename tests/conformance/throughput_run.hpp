// Runs cases of high throughput on one rank of a group, whatever the group is made of.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "conformance/memory.hpp"
#include "conformance/throughput_case.hpp"
#include "conformance/throughput_oracle.hpp"

namespace braid::conformance {

// A rank's buffer and streams, kept over many cases.
class ThroughputRun {
 public:
  ThroughputRun(Group& group, const HighThroughputOptions& options);

  // Layout, dispatch and combine, then both again on the same handle with other tokens: "" or the
  // first difference from the oracle. Collective.
  std::string run(const ThroughputCase& c, Routing routing, std::uint64_t seed);

  // The same where every rank has so many tokens.
  std::string run_full(const ThroughputCase& c, int num_tokens, std::uint64_t seed);

  // Dispatch to the expanded form and combine from it.
  std::string run_expanded(const ThroughputCase& c, Routing routing, std::uint64_t seed);

  // Two layouts whose dispatches and combines take turns.
  std::string run_two_handles(const ThroughputCase& c, std::uint64_t seed);

  // A layer's gradients through dispatch and combine, against what one device computes.
  std::string run_gradients(Routing routing, std::uint64_t seed);

  // The same with rows by expert.
  std::string run_expanded_gradients(Routing routing, std::uint64_t seed);

  // The bytes of everything that layout, dispatch and combine give.
  std::vector<std::byte> outputs_of(const ThroughputCase& c, Routing routing, std::uint64_t seed);

 private:
  // One routing, its handle, and the newest dispatch's input and output.
  struct Routed {
    std::vector<RankInput> inputs;  // of all ranks
    std::vector<ExpectedRow> rows;  // that this rank receives
    Mirror<std::int32_t> idx32;
    Mirror<std::int64_t> idx64;
    ThroughputHandle handle;
    Mirror<std::byte> own_x, own_scales;
    Mirror<float> weights;
    Mirror<std::byte> x, scales;
    Mirror<std::int32_t> out_idx32;
    Mirror<std::int64_t> out_idx64;
    Mirror<float> out_weights;
    std::int64_t num_rows = 0;  // of the outputs
  };

  std::string run(const ThroughputCase& c, const InputSpec& spec);
  const RankInput& mine(const Routed& r) const;
  void lay_out(const ThroughputCase& c, const InputSpec& spec, Routed& r);
  std::string check_received(const ThroughputCase& c, Routed& r);
  // Other values for all ranks' tokens, routed as before.
  void change_tokens(Routed& r, std::uint64_t seed) const;
  void dispatch(const ThroughputCase& c, Routed& r);
  std::string check_dispatched(const ThroughputCase& c, const Routed& r) const;
  std::string check_row(const ThroughputCase& c, const Routed& r, std::int64_t row) const;
  std::string check_tail(const ThroughputCase& c, const Routed& r, std::int64_t row) const;
  EncodedRow arrived(const ThroughputCase& c, const Routed& r, std::int64_t row) const;
  std::int32_t idx_at(const ThroughputCase& c, const Routed& r, std::int64_t at) const;
  // The ranks' rows home; their sums go to x and weights.
  struct Combined {
    Mirror<std::uint16_t> x;
    Mirror<float> weights;
  };
  void combine(const ThroughputCase& c, Routed& r, Combined& combined);
  std::string combine_and_check(const ThroughputCase& c, Routed& r);

  // Of the expanded form: what a dispatch gave, and what the experts make of it.
  struct Expanded {
    Mirror<std::byte> x, scales;
    Mirror<std::int32_t> row_experts;
    Mirror<std::uint16_t> y;
    std::int64_t num_rows = 0;
  };
  void dispatch_expanded(const ThroughputCase& c, Routed& r, Expanded& e);
  std::string check_expanded(const ThroughputCase& c, const Routed& r, Expanded& e);
  std::string combine_expanded(const ThroughputCase& c, Routed& r, Expanded& e);
  DispatchRows dispatch_input(const ThroughputCase& c, Routed& r);
  CombineRows run_experts(const Routed& r, const std::vector<std::uint16_t>& x,
                          Mirror<std::uint16_t>& y, Mirror<float>& dw);
  // What a rank sent forward, and the gradients that it sent back.
  struct Passes {
    const RankInput& forward;
    const RankInput& backward;
  };
  static std::string check_gradients(const Passes& passes, const std::vector<std::uint16_t>& out,
                                     const Combined& gradients);
  std::vector<std::uint16_t> expert_slopes(const Expanded& e) const;
  std::vector<float> weight_gradients(const Routed& r, const Expanded& e,
                                      const std::vector<std::uint16_t>& x) const;

  Group& group_;
  RankMemory memory_;
  Stream stream_;
  HighThroughputBuffer buffer_;  // last: it meets the other ranks, and nothing is made after that
};

}  // namespace braid::conformance
