#include "predict/cost.hpp"

#include <algorithm>
#include <cmath>

#include "codec/row.hpp"
#include "layout/shape.hpp"

namespace braid::predict {
namespace {

constexpr double kGbps = 1e3;  // bytes a microsecond

Traffic::Rounds rounds_of(const Operation& op, const Place& place) {
  const int all = place.traffic->rules().experts.num_rounds;
  return {op.round * all / op.num_rounds, (op.round + 1) * all / op.num_rounds};
}

// A dispatch message with one placement, and a combine row.
double message_bytes(const LayerCase& layer) {
  return static_cast<double>(layout::MessageShape::of(layer.dispatch, layer.shape.hidden).bytes(1));
}
double row_bytes(const LayerCase& layer) {
  const auto bf16 =
      static_cast<double>(codec::combine_row_max_bytes(CombineFormat::kBf16, layer.shape.hidden));
  // LogFMT-10: groups whose values allow it, nearly all, are 10 of 16 bits.
  return layer.combine == CombineFormat::kLogFmt10 ? bf16 * 10 / 16 : bf16;
}

GemmFormat gemm_format(const LayerCase& layer) {
  const bool bf16 = layer.dispatch == DispatchFormat::kBf16;
  return {bf16 ? 2.0 : 1.0, bf16 ? layer.device.bf16_tflops : layer.device.fp8_tflops};
}

std::vector<double> rows_of(const Operation& op, const Place& place) {
  const ExpertMap& experts = place.traffic->rules().experts;
  const Traffic::Rounds rounds = rounds_of(op, place);
  std::vector<double> rows;
  for (int local = 0; local < experts.num_local(); ++local) {
    const int round = experts.round_of_local(local);
    if (round >= rounds.first && round < rounds.end) {
      rows.push_back(place.traffic->expert_rows(place.rank, local));
    }
  }
  return rows;
}

double sum_of(const std::vector<double>& values) {
  double sum = 0;
  for (const double value : values) sum += value;
  return sum;
}

void add_gemm(Work& work, const GroupedGemm& gemm) {
  work.gemm = gemm;
  work.memory_bytes += gemm.bytes;
}

// Reads and writes of the rows that a sender stages, and what it hands to links and card.
void add_send(const LayerCase& layer, Work& work, const Traffic::Sums& sums, double bytes) {
  work.nvlink_bytes = sums.same_node * bytes;
  work.nic_bytes = sums.other_nodes * bytes;
  // The card reads what was staged for it; copies to itself are read and written.
  work.memory_bytes += (2 * sums.self + sums.same_node + 2 * sums.other_nodes) * bytes;
  work.sm_us = sums.all() * layer.protocol.message_sm_us;
}

Work dispatch_send(const LayerCase& layer, const Operation& op, const Place& place) {
  Work work;
  work.before_us = layer.protocol.dispatch_send_us;
  work.wire_us = layer.protocol.dispatch_wire_us;
  const double bytes = message_bytes(layer);
  add_send(layer, work, place.traffic->dispatch_sent(place.rank, rounds_of(op, place)), bytes);
  // Tokens are encoded once, in the first round.
  if (op.round == 0) {
    work.memory_bytes += place.traffic->tokens(place.rank) * (2.0 * layer.shape.hidden + bytes);
  }
  return work;
}

Work dispatch_receive(const LayerCase& layer, const Operation& op, const Place& place) {
  Work work;
  work.after_us = layer.protocol.dispatch_receive_us;
  const double bytes = message_bytes(layer);
  const double taken = place.traffic->dispatch_taken(place.rank, rounds_of(op, place));
  work.memory_bytes = 2 * sum_of(rows_of(op, place)) * bytes * (1 - layer.protocol.receive_overlap);
  work.nvlink_bytes = taken * bytes;
  return work;
}

Work combine_send(const LayerCase& layer, const Operation& op, const Place& place) {
  Work work;
  work.before_us = layer.protocol.combine_send_us;
  work.wire_us = layer.protocol.combine_wire_us;
  const Traffic::Sums sums = place.traffic->combine_sent(place.rank, rounds_of(op, place));
  add_send(layer, work, sums, row_bytes(layer));
  if (place.traffic->rules().reduce == Reduce::kExpertRank) {
    // Every row is read to be summed, not only the sums.
    const double rows = sum_of(rows_of(op, place));
    work.memory_bytes += std::max(0.0, rows - sums.all()) * 2.0 * layer.shape.hidden;
  }
  return work;
}

Work combine_receive(const LayerCase& layer, const Place& place) {
  Work work;
  work.after_us = layer.protocol.combine_receive_us;
  work.memory_bytes = (place.traffic->combine_rows(place.rank) * row_bytes(layer) +
                       place.traffic->tokens(place.rank) * 2.0 * layer.shape.hidden) *
                      (1 - layer.protocol.receive_overlap);
  return work;
}

Work attention(const LayerCase& layer, const Operation& op, const Place& place) {
  const double tokens = place.traffic->tokens(place.rank);
  const bool prepare = op.name == "attn.prepare", core = op.name == "attn.core";
  const double part = prepare || core ? 0.5 : 1.0;  // of the projections
  Work work;
  const double hidden = layer.shape.hidden;
  add_gemm(work, grouped_gemm({tokens}, layer.shape.attention_parameters / hidden * part, hidden,
                              gemm_format(layer)));
  if (!prepare) work.memory_bytes += tokens * layer.context * layer.shape.kv_bytes_per_token;
  return work;
}

}  // namespace

Work work_of(const LayerCase& layer, const Operation& op, const Place& place) {
  const double hidden = layer.shape.hidden, width = layer.shape.expert_width;
  const double tokens = place.traffic->tokens(place.rank);
  const GemmFormat format = gemm_format(layer);
  Work work;
  switch (op.kind) {
    case OperationKind::kAttention: work = attention(layer, op, place); break;
    case OperationKind::kGate:
      add_gemm(work,
               grouped_gemm({tokens}, layer.shape.experts, hidden, {2, layer.device.bf16_tflops}));
      work.gemm.most_splits = 16;
      break;
    case OperationKind::kDispatchSend: work = dispatch_send(layer, op, place); break;
    case OperationKind::kDispatchReceive: work = dispatch_receive(layer, op, place); break;
    case OperationKind::kUpGemm:
      add_gemm(work, grouped_gemm(rows_of(op, place), 2 * width, hidden, format));
      break;
    case OperationKind::kActivation:
      // Reads gate and up as BF16, writes their product as the next GEMM takes it.
      work.memory_bytes = sum_of(rows_of(op, place)) * width * (4 + format.weight_bytes);
      break;
    case OperationKind::kDownGemm:
      add_gemm(work, grouped_gemm(rows_of(op, place), hidden, width, format));
      break;
    case OperationKind::kCombineSend: work = combine_send(layer, op, place); break;
    case OperationKind::kCombineReceive: work = combine_receive(layer, place); break;
    case OperationKind::kSharedExpert: {
      const double shared = layer.shape.shared_width;
      GroupedGemm gemm = grouped_gemm({shared > 0 ? tokens : 0}, 3 * shared, hidden, format);
      add_gemm(work, gemm);
      // Three kernels: up, activation, down.
      if (shared > 0) work.before_us = 2 * layer.device.launch_us;
      break;
    }
    case OperationKind::kCustom: work.memory_bytes = tokens * 4 * hidden; break;
  }
  work.before_us += layer.device.launch_us;
  return work;
}

double nic_bytes_received(const LayerCase& layer, const Operation& send, const Place& place) {
  const Traffic::Rounds rounds = rounds_of(send, place);
  if (send.kind == OperationKind::kDispatchSend) {
    return place.traffic->dispatch_received_by_nic(place.rank, rounds) * message_bytes(layer);
  }
  return place.traffic->combine_received_by_nic(place.rank, rounds) * row_bytes(layer);
}

double num_tiles(const Operation& op, const Place& place, int block_rows) {
  double tiles = 0;
  for (const double rows : rows_of(op, place)) tiles += std::max(1.0, std::ceil(rows / block_rows));
  return tiles;
}

Rates rates(const LayerCase& layer, double sms) {
  const HardwareProfile& device = layer.device;
  return {std::min(device.memory_gbps, 2 * device.copy_gbps.at(sms)) * kGbps,
          std::min(device.nvlink_gbps, device.nvlink_push_gbps.at(sms)) *
              layer.protocol.nvlink_efficiency * kGbps};
}

}  // namespace braid::predict
