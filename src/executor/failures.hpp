// The failures of a run, and which one the others follow from.
#pragma once

#include <exception>
#include <vector>

#include "braid/executor.hpp"

namespace braid::executor {

class Failures {
 public:
  explicit Failures(const Bindings& bindings) : bindings_(bindings) {}

  // The first one ends what waits for work that will not come.
  void note(std::exception_ptr failure);
  bool any() const { return !all_.empty(); }
  // Rethrows the cause, where there is a failure: the first that is neither a time-out nor another
  // rank's report, else the first time-out, else the first.
  void throw_cause() const;

 private:
  const Bindings& bindings_;
  std::vector<std::exception_ptr> all_;  // in the order in which they were seen
};

}  // namespace braid::executor
