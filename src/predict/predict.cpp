#include "predict/predict.hpp"

#include <algorithm>
#include <utility>

#include "predict/relations.hpp"

namespace braid::predict {
namespace {

using Kind = OperationKind;

// Those operations of a schedule that `wanted` says. It has one lane and no edges.
template <class Wanted>
Schedule part_of(const Schedule& schedule, Wanted wanted) {
  Schedule part = schedule;
  std::erase_if(part.operations, [&](const Operation& op) { return !wanted(op.kind); });
  return part;
}

bool is_dispatch(Kind kind) {
  return kind == Kind::kDispatchSend || kind == Kind::kDispatchReceive;
}
bool is_combine(Kind kind) { return kind == Kind::kCombineSend || kind == Kind::kCombineReceive; }
bool is_experts(Kind kind) {
  return kind == Kind::kUpGemm || kind == Kind::kActivation || kind == Kind::kDownGemm;
}
bool is_compute(Kind kind) { return !is_send(kind) && !is_receive(kind); }

// How long at least one of the wanted operations ran on a rank.
template <class Wanted>
double busy(const Schedule& schedule, const Played& played, Wanted wanted) {
  std::vector<std::pair<double, double>> spans;
  for (int op = 0; op < played.num_operations; ++op) {
    if (!wanted(schedule.operations[static_cast<std::size_t>(op)].kind)) continue;
    const Span& span = played.at(played.last_rank, op);
    spans.emplace_back(span.start_us, span.end_us);
  }
  std::sort(spans.begin(), spans.end());
  double total = 0, until = 0;
  for (const auto& [start, end] : spans) {
    total += std::max(0.0, end - std::max(start, until));
    until = std::max(until, end);
  }
  return total;
}

// Longest that a card or a link is busy with a layer's bytes.
double wire_us(const Question& question) {
  const LayerCase& layer = question.layer;
  const double nic = layer.device.nic_gbps * layer.protocol.nic_efficiency * 1e3;
  const double nvlink = rates(layer, layer.device.sms).nvlink;
  double longest = 0;
  const Traffic& traffic = question.whole.front();
  for (int rank = 0; rank < traffic.rules().topology.num_ranks; ++rank) {
    double sent = 0, received = 0, pushed = 0;
    for (const Kind kind : {Kind::kDispatchSend, Kind::kCombineSend}) {
      const Place place{&traffic, rank};
      const Work work = work_of(layer, {.kind = kind}, place);
      sent += work.nic_bytes;
      pushed += work.nvlink_bytes;
      received += nic_bytes_received(layer, {.kind = kind}, place);
    }
    longest = std::max({longest, sent / nic, received / nic, pushed / nvlink});
  }
  return longest;
}

}  // namespace

Prediction predict(const Question& question) {
  const LayerCase& layer = question.layer;
  const auto alone = [&](auto wanted, const std::vector<Traffic>& traffic) {
    const Schedule part = part_of(question.sequential, wanted);
    return part.operations.empty() ? 0.0 : play(layer, part, traffic).total_us;
  };
  const double layers = question.layers;
  Prediction result;
  result.played = play(layer, question.schedule, question.traffic);
  result.sequential_played = play(layer, question.sequential, question.whole);
  result.total_us = result.played.total_us / layers;
  result.dispatch_us = busy(question.schedule, result.played, is_dispatch) / layers;
  result.experts_us = busy(question.schedule, result.played, is_experts) / layers;
  result.combine_us = busy(question.schedule, result.played, is_combine) / layers;
  result.sequential_us = result.sequential_played.total_us / layers;
  result.compute_alone_us = alone(is_compute, question.whole) / layers;
  result.dispatch_alone_us = alone(is_dispatch, question.whole) / layers;
  result.combine_alone_us = alone(is_combine, question.whole) / layers;

  const double lengthened = result.sequential_us - result.compute_alone_us;
  result.hidden_fraction =
      lengthened > 0
          ? std::clamp(1 - (result.total_us - result.compute_alone_us) / lengthened, 0.0, 1.0)
          : 0;
  result.speedup = result.sequential_us / result.total_us;

  const std::vector<Traffic> none = {Traffic(question.whole.front().rules())};
  const double before_wire = layer.device.launch_us + layer.protocol.combine_send_us;
  const auto is_chain = [](Kind kind) { return kind == Kind::kGate || is_experts(kind); };
  const double chain =
      (alone(is_chain, question.whole) + alone(is_dispatch, none) + alone(is_combine, none)) /
          layers -
      before_wire;
  result.bound_us = std::max({result.compute_alone_us, wire_us(question), chain});
  result.bound_speedup = result.sequential_us / result.bound_us;
  return result;
}

}  // namespace braid::predict
