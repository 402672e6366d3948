// Combine beside whoever makes the experts' rows, block by block, on one rank of a group.
#pragma once

#include <mutex>
#include <string>
#include <vector>

#include "conformance/rank_run.hpp"

namespace braid::conformance {

struct SignalCase {
  Case c;  // at the token rank
  int block_rows = 16;
  int threshold = 1;   // parts of a block, each of which is signaled
  bool beside = true;  // rows are made while the send waits for them, not before it
  std::string name() const;
};
std::vector<SignalCase> signal_cases();

class SignalRun : public RankRun {
 public:
  using RankRun::RankRun;

  // "" where combine gives the oracle's bits without signals, and with them. Collective.
  std::string run_signals(const SignalCase& s, Routing routing, std::uint64_t seed);

 private:
  struct Block {
    int expert = 0;
    std::int64_t block = 0;
    Range rows;  // of the expert
  };
  struct Making {
    Making(const SignalCase& its_case, const std::vector<std::uint16_t>& its_rows)
        : s(its_case), rows(its_rows) {}
    const SignalCase& s;
    const std::vector<std::uint16_t>& rows;  // as they shall be
    Mirror<std::uint16_t> y;
    Mirror<std::int32_t> signals;
    std::mutex mutex;  // of signals that are copied to where they are waited for
  };

  std::int64_t capacity() const { return std::int64_t{group_.topology().num_ranks} * kMaxTokens; }
  std::vector<Block> blocks_of(const SignalCase& s, const Dispatched& d) const;
  // Makes the parts whose number modulo `makers` is `maker`, in an order of its own.
  void make(Making& making, std::vector<Block> blocks, int maker, std::uint64_t seed);
  void make_part(Making& making, const Block& block, int part);
  void add_to_signal(Making& making, const Block& block);
  void begin_combine(const SignalCase& s, Dispatched& d, Making& making,
                     Mirror<std::uint16_t>& out);
  void send(const SignalCase& s, const Dispatched& d, Making& making);
};

}  // namespace braid::conformance
