// Runs cases on one rank of a group, whatever the group is made of.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/math.hpp"
#include "braid/buffer.hpp"
#include "conformance/case.hpp"
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
    std::vector<std::int64_t> idx64;
    std::vector<std::byte> x, scales;
    std::vector<std::int32_t> counts;
    std::vector<std::int64_t> received_total, waited_ns;
    Handle handle;
  };

  const RankInput& mine(const Dispatched& d) const;
  void begin(const Case& c, Routing routing, std::uint64_t seed, Dispatched& d);
  // One row's scales, wherever they stand.
  std::vector<std::byte> scales_of(const Case& c, const Dispatched& d, int local,
                                   std::int64_t row) const;
  std::string check_dispatch(const Case& c, const Dispatched& d) const;
  // Where the experts write: the region of the handle, or `own`. All of it is no number at first.
  std::uint16_t* experts_output(const Case& c, const Dispatched& d,
                                std::vector<std::uint16_t>& own) const;
  // What combine is told of it: nothing where it is the region.
  Tensor experts_rows(const Case& c, std::uint16_t* y) const;
  // Rows of local experts [first, end) into y, laid out as the dispatched rows.
  void experts(const Case& c, const Dispatched& d, Range range, std::uint16_t* y) const;
  CombineOptions combine_options(const Case& c) const;
  std::string combine_and_check(const Case& c, const Dispatched& d);
  std::string check_combined(const Case& c, const Dispatched& d,
                             const std::vector<std::uint16_t>& out) const;

  Group& group_;
  Buffer buffer_;
  Stream stream_ = Stream::cpu();
  Stream other_stream_ = Stream::cpu();
};

// 1 - 2*sum(xy)/sum(xx + yy) in double.
double diff_of(const std::vector<double>& expected, const std::vector<std::uint16_t>& seen);

}  // namespace braid::conformance
