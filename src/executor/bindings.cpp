#include "base/check.hpp"
#include "braid/executor.hpp"

namespace braid {

Bindings& Bindings::bind(OperationKind kind, OperationCallable callable) {
  require(callable != nullptr, "the callable bound to {} is empty", to_string(kind));
  kinds_[kind] = std::move(callable);
  return *this;
}

Bindings& Bindings::bind(const std::string& name, OperationCallable callable) {
  require(!name.empty(), "a callable is bound to an empty name");
  require(callable != nullptr, "the callable bound to {} is empty", name);
  names_[name] = std::move(callable);
  return *this;
}

Bindings& Bindings::on_failure(std::function<void(std::exception_ptr)> callable) {
  require(callable != nullptr, "the callable given to on_failure is empty");
  on_failure_.push_back(std::move(callable));
  return *this;
}

const OperationCallable* Bindings::find(const Operation& operation) const {
  if (const auto named = names_.find(operation.name); named != names_.end()) return &named->second;
  const auto found = kinds_.find(operation.kind);
  return found == kinds_.end() ? nullptr : &found->second;
}

}  // namespace braid
