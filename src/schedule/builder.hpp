// What the builders of schedules share.
#pragma once

#include <string>
#include <utility>

#include "base/check.hpp"
#include "braid/overlap.hpp"

namespace braid::schedule {

class Builder {
 public:
  Builder(std::string name, const LayerParts& parts, std::vector<Lane> lanes) {
    require(parts.device_sms >= 1, "the device has {} SMs, but must have at least 1",
            parts.device_sms);
    schedule_.name = std::move(name);
    schedule_.device_sms = parts.device_sms;
    schedule_.reduce = parts.reduce;
    schedule_.lanes = std::move(lanes);
  }

  int device() const { return schedule_.device_sms; }
  void block_rows(int rows) { schedule_.block_rows = rows; }

  int add(const Operation& operation) {
    schedule_.operations.push_back(operation);
    return static_cast<int>(schedule_.operations.size()) - 1;
  }
  // On lane 0 with the whole device.
  int add(OperationKind kind) { return add({.kind = kind, .sms = device()}); }

  void after(int from, int to) { schedule_.edges.push_back({from, to, EdgeKind::kAfter}); }
  void tiles(int from, int to) { schedule_.edges.push_back({from, to, EdgeKind::kTiles}); }

  // What comes before dispatch.
  void add_front(const LayerParts& parts) {
    if (parts.attention) add(OperationKind::kAttention);
    add(OperationKind::kGate);
  }

  Schedule finish() {
    validate(schedule_);
    return std::move(schedule_);
  }

 private:
  Schedule schedule_;
};

}  // namespace braid::schedule
