// How the processes of a run tell the one that started them why they failed: a pipe that all of
// them hold. A failure is one short line, so that lines of several processes don't mix, and they
// arrive in the order in which they happened.
#pragma once

#include <vector>

#include "app/ranks.hpp"

namespace braid::cli {

class FailurePipe {
 public:
  FailurePipe();
  ~FailurePipe();
  FailurePipe(const FailurePipe&) = delete;
  FailurePipe& operator=(const FailurePipe&) = delete;

  // For the processes, which inherit it.
  int write_end() const { return write_; }
  // What was told so far; never waits.
  std::vector<app::Failure> read();

  static void tell(int write_end, const app::Failure& failure);

 private:
  int read_ = -1;
  int write_ = -1;
};

}  // namespace braid::cli
