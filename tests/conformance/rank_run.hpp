// Runs cases on one rank of a group, whatever the group is made of.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/math.hpp"
#include "braid/buffer.hpp"
#include "conformance/case.hpp"
#include "conformance/memory.hpp"
#include "conformance/oracle.hpp"

namespace braid::conformance {

// A rank's buffer, streams and outputs, kept over many cases: slots are used again and again, by
// operations of different shapes.
class RankRun {
 public:
  RankRun(Group& group, const BufferOptions& options);

  // "" or the first difference from the oracle. Collective.
  std::string run(const Case& c, Routing routing, std::uint64_t seed);

  // Each round's rows go home before the next round is received (kTokenRank, equal rounds).
  std::string run_round_by_round(const Case& c, Routing routing, std::uint64_t seed);

  // Two dispatches in flight before the first hook; then both are received and combined.
  std::string run_two_in_flight(const Case& c, std::uint64_t seed);

 protected:
  struct Dispatched {
    std::vector<RankInput> inputs;  // of all ranks
    Mirror<std::uint16_t> own_x;
    Mirror<std::int32_t> idx32;
    Mirror<std::int64_t> idx64;
    Mirror<float> weights;
    Mirror<std::byte> x, scales;
    Mirror<std::int32_t> counts;
    Mirror<std::int64_t> received_total, waited_ns;
    Handle handle;
  };

  const RankInput& mine(const Dispatched& d) const;
  void begin(const Case& c, Routing routing, std::uint64_t seed, Dispatched& d);
  // One row's scales, wherever they stand.
  std::vector<std::byte> scales_of(const Case& c, const Dispatched& d, int local,
                                   std::int64_t row) const;
  // Once its rounds were received: to where the host can see it.
  void fetch(Dispatched& d) const;
  std::string check_dispatch(const Case& c, Dispatched& d) const;
  // What combine is told of the experts' rows: nothing where they are in the handle's region.
  Tensor experts_rows(const Case& c, Mirror<std::uint16_t>& y) const;
  // Rows [first, end) of local experts, which were fetched, into y, laid out as they are.
  void experts(const Case& c, const Dispatched& d, Range range, Mirror<std::uint16_t>& y) const;
  // No row of them is there yet: memory of its own, or the handle's region.
  void reset_rows(const Case& c, const Dispatched& d, Mirror<std::uint16_t>& y);
  CombineOptions combine_options(const Case& c) const;
  std::string combine_and_check(const Case& c, Dispatched& d);
  std::string check_combined(const Case& c, const Dispatched& d, Mirror<std::uint16_t>& out) const;

  Group& group_;
  RankMemory memory_;
  Stream stream_, other_stream_;
  Buffer buffer_;  // last: it meets the other ranks, and nothing is to be made after that
};

// 1 - 2*sum(xy)/sum(xx + yy) in double.
double diff_of(const std::vector<double>& expected, const std::vector<std::uint16_t>& seen);

}  // namespace braid::conformance
