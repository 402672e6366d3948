#include "predict/fluid.hpp"

#include <algorithm>
#include <numeric>

#include "base/check.hpp"

namespace braid::predict {

std::vector<double> fair_shares(const std::vector<double>& demands, double capacity) {
  std::vector<std::size_t> order(demands.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::sort(order.begin(), order.end(),
            [&](std::size_t a, std::size_t b) { return demands[a] < demands[b]; });
  std::vector<double> shares(demands.size());
  double left = capacity;
  for (std::size_t i = 0; i < order.size(); ++i) {
    shares[order[i]] = std::min(demands[order[i]], left / static_cast<double>(order.size() - i));
    left -= shares[order[i]];
  }
  return shares;
}

Fluid::Running& Fluid::find(int operation) {
  const auto found = std::find_if(running_.begin(), running_.end(), [&](const Running& running) {
    return running.operation == operation;
  });
  BRAID_CHECK(found != running_.end());
  return *found;
}

void Fluid::start(double now, int operation, int sms) {
  advance(now);
  running_.push_back({.operation = operation, .budget = sms});
  share_out();
}

void Fluid::stop(double now, int operation) {
  advance(now);
  running_.erase(running_.begin() + (&find(operation) - running_.data()));
  share_out();
}

void Fluid::work(double now, int operation, const Work& work, double share) {
  advance(now);
  Running& running = find(operation);
  running.work = &work;
  running.left = share;
  share_out();
}

void Fluid::finish(double now, int operation) {
  advance(now);
  find(operation).work = nullptr;
  share_out();
}

Fluid::Next Fluid::next() const {
  Next next;
  for (const Running& running : running_) {
    if (running.work == nullptr) continue;
    const double time = now_ + running.left * running.time;
    if (time < next.time) next = {time, running.operation};
  }
  return next;
}

void Fluid::advance(double now) {
  for (Running& running : running_) {
    if (running.work == nullptr) continue;
    const double done = running.time > 0 ? (now - now_) / running.time : running.left;
    running.left = std::max(0.0, running.left - done);
  }
  now_ = now;
}

// How long the whole work takes on so many SMs without others.
double Fluid::alone(const Running& running, double sms) const {
  const Work& work = *running.work;
  const Rates own = rates(*layer_, sms);
  return std::max({arithmetic_us(work.gemm, layer_->device, sms), work.memory_bytes / own.memory,
                   work.nvlink_bytes / own.nvlink, work.sm_us / sms});
}

void Fluid::share_out() {
  double held = 0;
  double without = 0;  // a budget
  for (const Running& running : running_) {
    held += running.budget;
    if (running.budget == 0) ++without;
  }
  const double all = layer_->device.sms;
  const double free = without > 0 ? std::max(1.0, (all - held) / without) : 0;
  // Budgets that together are over the device take turns.
  const double scale = std::min(1.0, all / std::max(1.0, held));
  std::vector<double> memory, nvlink;
  for (Running& running : running_) {
    if (running.work == nullptr) continue;
    running.time = alone(running, running.budget > 0 ? running.budget * scale : free);
    memory.push_back(running.time > 0 ? running.work->memory_bytes / running.time : 0);
    nvlink.push_back(running.time > 0 ? running.work->nvlink_bytes / running.time : 0);
  }
  const std::vector<double> memory_shares = fair_shares(memory, whole_.memory);
  const std::vector<double> nvlink_shares = fair_shares(nvlink, whole_.nvlink);
  std::size_t at = 0;
  for (Running& running : running_) {
    if (running.work == nullptr) continue;
    double slowed = running.time;
    if (memory[at] > 0) slowed = std::max(slowed, running.work->memory_bytes / memory_shares[at]);
    if (nvlink[at] > 0) slowed = std::max(slowed, running.work->nvlink_bytes / nvlink_shares[at]);
    running.time = slowed;
    ++at;
  }
}

}  // namespace braid::predict
