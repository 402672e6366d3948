// One device: the operations that run on it now, and how fast each goes while they share SMs,
// memory and the links to the node's other devices.
#pragma once

#include <limits>
#include <vector>

#include "predict/cost.hpp"

namespace braid::predict {

inline constexpr double kNever = std::numeric_limits<double>::infinity();

class Fluid {
 public:
  explicit Fluid(const LayerCase& layer) : layer_(&layer), whole_(rates(layer, layer.device.sms)) {}

  // From start to stop an operation holds its budget of SMs, also while it waits. 0: it takes what
  // is free, in equal parts with others of its kind, at least one.
  void start(double now, int operation, int sms);
  void stop(double now, int operation);
  // A share of an operation's work begins.
  void work(double now, int operation, const Work& work, double share);

  // The next piece of work that ends, if nothing changes before.
  struct Next {
    double time = kNever;
    int operation = -1;
  };
  Next next() const;
  // It has ended.
  void finish(double now, int operation);

 private:
  struct Running {
    int operation = 0;
    int budget = 0;
    const Work* work = nullptr;  // none: it waits
    double left = 0;             // of the whole work
    double time = 0;             // that the whole work takes at the present speed
  };
  Running& find(int operation);
  void advance(double now);
  void share_out();
  double alone(const Running& running, double sms) const;

  const LayerCase* layer_;
  Rates whole_;
  double now_ = 0;
  std::vector<Running> running_;
};

// Shares of `capacity` for these demands: what is left over by the modest goes to the others, in
// equal parts.
std::vector<double> fair_shares(const std::vector<double>& demands, double capacity);

}  // namespace braid::predict
