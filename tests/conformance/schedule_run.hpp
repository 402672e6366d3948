// Random schedules on one rank: several operations in flight, their phases in any order that the
// buffer allows, on streams that each rank chooses for itself.
#pragma once

#include <list>
#include <random>
#include <set>

#include "conformance/rank_run.hpp"

namespace braid::conformance {

class ScheduleRun : public RankRun {
 public:
  // The seed decides the calls, which are the same on every rank, and with the rank the streams.
  ScheduleRun(Group& group, const BufferOptions& options, std::uint64_t seed);

  // "" or the first difference from the oracle. Collective.
  std::string run_schedule(int num_steps);

 private:
  struct Operation {
    Case c;
    Dispatched d;
    int dispatch_sent = 0, dispatch_received = 0, combine_sent = 0;
    int dispatch_number = -1, combine_number = -1;  // in the order of first sends
    bool combining = false;
    Event received;
    Mirror<std::uint16_t> y, out;
  };
  using Place = std::list<Operation>::iterator;

  int below(int end) { return static_cast<int>(calls_() % static_cast<std::uint64_t>(end)); }
  Stream& any_stream() { return streams_[own_() % streams_.size()]; }
  // The buffer's own rule: the operation D before was received.
  bool take_number(int& number);

  void start();
  void send(Operation& op);
  void receive(Operation& op);
  std::string begin_combine(Operation& op);
  void send_home(Operation& op);
  std::string receive_home(Place place);

  BufferOptions options_;
  std::mt19937_64 calls_, own_;
  std::vector<Case> cases_ = all_cases();
  // Few: ranks that share a GPU have 32 hardware queues between them.
  std::vector<Stream> streams_{stream_, other_stream_, group_.make_stream()};
  std::list<Operation> operations_;
  std::set<int> in_flight_;  // numbers sent and not yet received
  int next_number_ = 0;
  std::uint64_t next_seed_ = 0;
};

}  // namespace braid::conformance
