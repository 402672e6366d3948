// The lanes of a run: a stream each, and the points on it that were not reached yet.
#pragma once

#include <deque>
#include <vector>

#include "braid/executor.hpp"
#include "executor/failures.hpp"

namespace braid::executor {

class Lanes {
 public:
  Lanes(const Schedule& schedule, const ExecutorOptions& options, Failures& failures);

  Stream& stream(int lane) { return lanes_[static_cast<std::size_t>(lane)].stream; }
  // A point behind what the lane has been given so far.
  Event record(int lane);

  // Notes the failures of lanes that have failed since the last look.
  void look();
  // Blocks until the lane has come to where it is now. Throws the run's failure as soon as there is
  // one, on whatever lane: this one may wait for what the failed one was to do.
  void wait(int lane);
  // Blocks until all lanes have run all that they were given.
  void drain();

 private:
  struct Lane {
    Stream stream;
    std::deque<Event> ahead;  // recorded, and not seen reached
    bool failed = false;
  };

  void look(Lane& lane);

  std::vector<Lane> lanes_;
  Failures& failures_;
};

}  // namespace braid::executor
