// One direction of a network card: jobs share it in equal parts.
#pragma once

#include <utility>
#include <vector>

#include "predict/fluid.hpp"

namespace braid::predict {

class Port {
 public:
  explicit Port(double bytes_per_us) : rate_(bytes_per_us) {}

  void add(double now, int job, double bytes);
  struct Next {
    double time = kNever;
    int job = -1;
  };
  Next next() const;
  // The job that next() names has ended.
  void finish(double now, int job);

 private:
  void advance(double now);

  double rate_;
  double now_ = 0;
  std::vector<std::pair<int, double>> jobs_;  // bytes left
};

}  // namespace braid::predict
