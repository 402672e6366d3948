// Collective calls over channels that meet in rank 0.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "braid/error.hpp"
#include "runtime/channel.hpp"

namespace braid::detail {

// One rank's part of a collective call.
struct Part {
  std::string text;
  Descriptor descriptor;  // only where the channels pass descriptors
};

// A failed call ends the star: its channels close, which ends the others' calls too.
class Star {
 public:
  // channels: on rank 0 one a rank, the first empty; on the others the one to rank 0; none where
  // there is one rank.
  Star(int rank, int num_ranks, std::vector<Channel> channels, std::int64_t timeout_ms);

  // Every rank's part, by rank. Throws kTimeout naming the ranks that did not come, on every rank,
  // as soon as the first rank's time is up; kPeerFailed naming a rank that ended, at once.
  std::vector<Part> gather(Part mine, const std::string& what);
  std::vector<Part> gather(Part mine, const std::string& what, const Deadline& deadline);

 private:
  struct Call {
    const std::string& what;
    Deadline deadline;
  };
  struct Arrivals {
    std::vector<Part> parts;
    std::vector<bool> came;
    bool impatient = false;  // a rank's time is up
    bool complete() const;
  };

  // Rank 0.
  std::vector<Part> collect(Part mine, const Call& call);
  void take_in(std::size_t rank, Arrivals& arrivals, const Call& call);
  void distribute(const std::vector<Part>& parts, const Call& call);
  [[noreturn]] void end_for_absent(const Arrivals& arrivals, const Call& call);
  // The others.
  std::vector<Part> contribute(Part mine, const Call& call);
  Frame next(const Call& call);

  [[noreturn]] void end(ErrorCode code, const std::string& sentence);

  int rank_;
  std::size_t num_ranks_;
  std::vector<Channel> channels_;
  std::int64_t timeout_ms_;
  std::uint64_t call_ = 0;
};

}  // namespace braid::detail
