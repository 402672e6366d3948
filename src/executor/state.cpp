#include "base/check.hpp"
#include "braid/executor.hpp"

namespace braid {

std::vector<std::string> State::names() const {
  std::vector<std::string> all;
  for (const auto& [name, value] : values_) all.push_back(name);
  return all;
}

void State::clear(const std::set<std::string>& expected) {
  std::vector<std::string> left;
  for (const auto& [name, value] : values_) {
    if (!expected.contains(name)) left.push_back("'" + name + "'");
  }
  values_.clear();
  if (left.empty()) return;
  fail(ErrorCode::kRefused, "{} ended with {} left in its state: every value is to be popped", of_,
       fmt::join(left, ", "));
}

void State::put(const std::string& name, std::any value) {
  if (values_.contains(name)) {
    fail(ErrorCode::kRefused, "{} sets '{}' of {}, which has a value already: each is written once",
         operation_, name, of_);
  }
  values_.emplace(name, std::move(value));
}

std::any& State::find(const std::string& name) {
  const auto found = values_.find(name);
  if (found == values_.end()) {
    fail(ErrorCode::kRefused, "{} needs '{}' of {}, which nothing has set", operation_, name, of_);
  }
  return found->second;
}

void State::refuse_type(const std::string& name) const {
  fail(ErrorCode::kRefused, "{} needs '{}' of {}, which has a value of another type", operation_,
       name, of_);
}

}  // namespace braid
