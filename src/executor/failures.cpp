#include "executor/failures.hpp"

#include <algorithm>

#include "braid/error.hpp"

namespace braid::executor {
namespace {

// 0: a cause; 1: a wait that was in vain; 2: a report of another failure.
int distance(const std::exception_ptr& failure) {
  try {
    std::rethrow_exception(failure);
  } catch (const Error& error) {
    if (error.code() == ErrorCode::kPeerFailed) return 2;
    return error.code() == ErrorCode::kTimeout ? 1 : 0;
  } catch (...) {
    return 0;
  }
}

}  // namespace

void Failures::note(std::exception_ptr failure) {
  all_.push_back(failure);
  if (all_.size() > 1) return;
  for (const auto& callable : bindings_.failure_callables()) callable(failure);
}

void Failures::throw_cause() const {
  if (all_.empty()) return;
  std::rethrow_exception(
      *std::min_element(all_.begin(), all_.end(),
                        [](const auto& a, const auto& b) { return distance(a) < distance(b); }));
}

}  // namespace braid::executor
