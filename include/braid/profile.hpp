// Profiles: what prediction knows of a device and its network, of a protocol, and of a model's
// layer. Each is a JSON file in which every number has a value and a source:
//
//   {"name": "h20", "numbers": {"sms": {"value": 78, "source": "datasheet"}, ...}}
//
// profiles/ has the ones that are built in. load_*() take a built-in name, or a path where the text
// ends in .json. They throw kInvalidArgument for an unknown name, listing what there is; kMissing
// for a file that can't be read; kFormat, naming file and field, for a field that is missing,
// unknown, negative, not a number, or without a source.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "braid/buffer.hpp"

namespace braid {

// A rate by the number of SMs: straight between points and to (0, 0), flat beyond the last.
struct RateCurve {
  struct Point {
    double sms = 0;
    double gbps = 0;  // 1e9 bytes a second
  };
  std::vector<Point> points;  // by rising sms, at least one
  double at(double sms) const;
};

struct HardwareProfile {
  std::string name;
  int sms = 0;
  double bf16_tflops = 0, fp8_tflops = 0;  // dense
  double memory_gbps = 0;
  double nvlink_gbps = 0;      // of a direction, on paper
  double nic_gbps = 0;         // of a direction; one card a device
  RateCurve nvlink_push_gbps;  // what SMs that store into a peer reach
  RateCurve copy_gbps;         // bytes copied inside the device; twice as many cross its memory
  double gemm_efficiency = 0;  // of the peak, inside a tile
  double launch_us = 0;        // from one kernel's end to the next one's first useful instruction
  double event_us = 0;         // more where it waits for another stream
  double nvlink_latency_us = 0, nic_latency_us = 0;  // of a flag, one way
};

struct ProtocolProfile {
  std::string name;
  FanOut fan_out = FanOut::kPerRank;
  Reduce reduce = Reduce::kTokenRank;
  double nic_efficiency = 0;     // payload that a network card carries, of its rate
  double nvlink_efficiency = 0;  // of the device's push rate
  // What a phase takes beyond bytes, launch and latency, on the SMs ...
  double dispatch_send_us = 0, dispatch_receive_us = 0;
  double combine_send_us = 0, combine_receive_us = 0;
  // ... and what an operation's bytes are under way beyond bandwidth and latency, off the SMs.
  double dispatch_wire_us = 0, combine_wire_us = 0;
  // Of a receive's reads and writes, the part that is done while messages are still coming, because
  // a receive runs beside its own send.
  double receive_overlap = 0;
  // Most experts of a round, on all ranks, for each SM of a send or of dispatch's receive; 0: any.
  int send_experts_per_sm = 0, receive_experts_per_sm = 0;
  double message_sm_us = 0;  // of one SM, for one message
};

struct ModelShape {
  std::string name;
  int hidden = 0;
  int expert_width = 0;
  int experts = 0;
  int top_k = 0;
  int shared_width = 0;  // 0: no shared expert
  double attention_parameters = 0;
  double kv_bytes_per_token = 0;
};

HardwareProfile load_hardware_profile(const std::string& name_or_path);
ProtocolProfile load_protocol_profile(const std::string& name_or_path);
ModelShape load_model_shape(const std::string& name_or_path);

// Built-in names.
std::vector<std::string> hardware_profile_names();
std::vector<std::string> protocol_profile_names();
std::vector<std::string> model_shape_names();

}  // namespace braid
