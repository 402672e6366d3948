// What an operation of a schedule asks of one rank: SMs, memory, links.
#pragma once

#include <vector>

#include "braid/profile.hpp"
#include "braid/schedule.hpp"
#include "predict/gemm.hpp"
#include "predict/traffic.hpp"

namespace braid::predict {

// A layer on a machine.
struct LayerCase {
  HardwareProfile device;
  ProtocolProfile protocol;
  ModelShape shape;
  DispatchFormat dispatch = DispatchFormat::kFp8;
  CombineFormat combine = CombineFormat::kBf16;
  int context = 4096;  // tokens that attention looks back at
};

struct Work {
  double before_us = 0;  // until it does anything
  double after_us = 0;   // until others may rely on it
  // In between, the longest of these:
  GroupedGemm gemm{};
  double memory_bytes = 0;
  double nvlink_bytes = 0;  // pushed to, or taken from, the node's other ranks
  double sm_us = 0;         // of one SM: shared out over those that it has
  // Handed to the network card when the work starts; arrives by wire_us later than bandwidth and
  // latency say.
  double nic_bytes = 0;
  double wire_us = 0;
};

// Of a part of the experts, on a rank. `traffic` is the operation's micro-batch's.
struct Place {
  const Traffic* traffic = nullptr;
  int rank = 0;
};
Work work_of(const LayerCase& layer, const Operation& operation, const Place& place);

// Bytes that arrive at a rank's network card for a send of all ranks.
double nic_bytes_received(const LayerCase& layer, const Operation& send, const Place& place);

// Blocks of rows behind an operation's tiles.
double num_tiles(const Operation& operation, const Place& place, int block_rows);

// The largest share of the device's rates that an operation on so many SMs can use.
struct Rates {
  double memory = 0, nvlink = 0;  // bytes a microsecond
};
Rates rates(const LayerCase& layer, double sms);

}  // namespace braid::predict
