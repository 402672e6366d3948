#include <algorithm>
#include <cstring>
#include <fstream>
#include <iterator>

#include "base/check.hpp"
#include "braid/profile.hpp"
#include "predict/builtins.hpp"
#include "predict/fields.hpp"

namespace braid {
namespace {

using predict::Fields;

std::vector<std::string> names(const char* kind) {
  std::vector<std::string> found;
  for (const predict::Builtin& builtin : predict::builtins()) {
    if (std::strcmp(builtin.kind, kind) == 0) found.emplace_back(builtin.name);
  }
  std::sort(found.begin(), found.end());
  return found;
}

// `called`: what a user calls this kind.
Fields read(const char* kind, const char* called, const std::string& name_or_path) {
  if (name_or_path.ends_with(".json")) {
    std::ifstream stream(name_or_path, std::ios::binary);
    std::string text;
    if (stream) text.assign(std::istreambuf_iterator<char>(stream), {});
    if (!stream) {
      fail(ErrorCode::kMissing, "{} is '{}', but that file can't be read", called, name_or_path);
    }
    return {text, name_or_path};
  }
  for (const predict::Builtin& builtin : predict::builtins()) {
    if (std::strcmp(builtin.kind, kind) == 0 && name_or_path == builtin.name) {
      return {builtin.text, std::string(called) + " " + builtin.name};
    }
  }
  fail(ErrorCode::kInvalidArgument, "{} is '{}', but must be {} or a .json file", called,
       name_or_path, fmt::join(names(kind), ", "));
}

FanOut fan_out_of(Fields& fields) {
  const std::string text = fields.text("fan_out");
  if (text == "per_expert") return FanOut::kPerExpert;
  if (text != "per_rank") fields.reject("fan_out", "per_expert or per_rank");
  return FanOut::kPerRank;
}

Reduce reduce_of(Fields& fields) {
  const std::string text = fields.text("reduce");
  if (text == "expert_rank") return Reduce::kExpertRank;
  if (text != "token_rank") fields.reject("reduce", "token_rank or expert_rank");
  return Reduce::kTokenRank;
}

}  // namespace

double RateCurve::at(double sms) const {
  Point before;
  for (const Point& point : points) {
    if (sms <= point.sms) {
      return before.gbps +
             (point.gbps - before.gbps) * (sms - before.sms) / (point.sms - before.sms);
    }
    before = point;
  }
  return before.gbps;
}

HardwareProfile load_hardware_profile(const std::string& name_or_path) {
  Fields fields = read("hardware", "profile", name_or_path);
  HardwareProfile profile;
  profile.name = fields.text("name");
  profile.sms = fields.whole("sms", 1);
  profile.bf16_tflops = fields.positive("bf16_tflops");
  profile.fp8_tflops = fields.positive("fp8_tflops");
  profile.memory_gbps = fields.positive("memory_gbps");
  profile.nvlink_gbps = fields.positive("nvlink_gbps");
  profile.nic_gbps = fields.positive("nic_gbps");
  profile.nvlink_push_gbps = fields.curve("nvlink_push_gbps");
  profile.copy_gbps = fields.curve("copy_gbps");
  profile.gemm_efficiency = fields.share("gemm_efficiency");
  profile.launch_us = fields.number("launch_us");
  profile.event_us = fields.number("event_us");
  profile.nvlink_latency_us = fields.number("nvlink_latency_us");
  profile.nic_latency_us = fields.number("nic_latency_us");
  fields.check_nothing_left();
  return profile;
}

ProtocolProfile load_protocol_profile(const std::string& name_or_path) {
  Fields fields = read("protocol", "protocol", name_or_path);
  ProtocolProfile profile;
  profile.name = fields.text("name");
  profile.fan_out = fan_out_of(fields);
  profile.reduce = reduce_of(fields);
  profile.nic_efficiency = fields.share("nic_efficiency");
  profile.nvlink_efficiency = fields.share("nvlink_efficiency");
  profile.dispatch_send_us = fields.number("dispatch_send_us");
  profile.dispatch_receive_us = fields.number("dispatch_receive_us");
  profile.combine_send_us = fields.number("combine_send_us");
  profile.combine_receive_us = fields.number("combine_receive_us");
  profile.dispatch_wire_us = fields.number("dispatch_wire_us");
  profile.combine_wire_us = fields.number("combine_wire_us");
  profile.receive_overlap = fields.fraction("receive_overlap");
  profile.send_experts_per_sm = fields.whole("send_experts_per_sm", 0);
  profile.receive_experts_per_sm = fields.whole("receive_experts_per_sm", 0);
  profile.message_sm_us = fields.number("message_sm_us");
  fields.check_nothing_left();
  return profile;
}

ModelShape load_model_shape(const std::string& name_or_path) {
  Fields fields = read("shape", "shape", name_or_path);
  ModelShape shape;
  shape.name = fields.text("name");
  shape.hidden = fields.whole("hidden", 1);
  shape.expert_width = fields.whole("expert_width", 1);
  shape.experts = fields.whole("experts", 1);
  shape.top_k = fields.whole("topk", 1);
  shape.shared_width = fields.whole("shared_width", 0);
  shape.attention_parameters = fields.number("attention_parameters");
  shape.kv_bytes_per_token = fields.number("kv_bytes_per_token");
  fields.check_nothing_left();
  return shape;
}

std::vector<std::string> hardware_profile_names() { return names("hardware"); }
std::vector<std::string> protocol_profile_names() { return names("protocol"); }
std::vector<std::string> model_shape_names() { return names("shape"); }

}  // namespace braid
