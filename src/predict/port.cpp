#include "predict/port.hpp"

#include <algorithm>

namespace braid::predict {

void Port::add(double now, int job, double bytes) {
  advance(now);
  jobs_.emplace_back(job, bytes);
}

Port::Next Port::next() const {
  Next next;
  for (const auto& [job, left] : jobs_) {
    const double time = now_ + left * static_cast<double>(jobs_.size()) / rate_;
    if (time < next.time) next = {time, job};
  }
  return next;
}

void Port::finish(double now, int job) {
  advance(now);
  jobs_.erase(std::find_if(jobs_.begin(), jobs_.end(),
                           [&](const auto& each) { return each.first == job; }));
}

void Port::advance(double now) {
  if (!jobs_.empty()) {
    const double each = (now - now_) * rate_ / static_cast<double>(jobs_.size());
    for (auto& [job, left] : jobs_) left = std::max(0.0, left - each);
  }
  now_ = now;
}

}  // namespace braid::predict
