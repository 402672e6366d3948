#include "backend/cpu/roles.hpp"

#include "backend/cpu/machine.hpp"
#include "layout/scratch.hpp"
#include "protocol/combine.hpp"
#include "protocol/dispatch.hpp"
#include "protocol/dispatch_receive.hpp"
#include "protocol/throughput_combine.hpp"
#include "protocol/throughput_dispatch.hpp"
#include "protocol/throughput_layout.hpp"

namespace braid::cpu {
namespace {

WorkerPlace place_of(const ExpertMap& experts, int k, int worker, int num_workers) {
  return {worker, num_workers, layout::scratch_bytes(experts, k)};
}

WorkerPlace place_of(const protocol::ThroughputArgs& op, int worker, int num_workers) {
  return {worker, num_workers,
          max_of(layout::layout_scratch_bytes(op.map.shape, CpuMachine::num_warps()),
                 layout::row_scratch_bytes(op.map.shape, CpuMachine::num_warps()))};
}

}  // namespace

void run_dispatch_send(RankContext& context, const protocol::DispatchArgs& args, int round,
                       int worker, int num_workers) {
  CpuMachine m(context, Kind::kDispatch,
               place_of(args.rules.experts, args.topk.k, worker, num_workers));
  protocol::dispatch_send(m, args, round);
}

void run_dispatch_receive(RankContext& context, const protocol::DispatchArgs& args, int round,
                          int worker, int num_workers) {
  CpuMachine m(context, Kind::kDispatch,
               place_of(args.rules.experts, args.topk.k, worker, num_workers));
  protocol::dispatch_receive(m, args, round);
}

void run_combine_send(RankContext& context, const protocol::CombineArgs& args, int round,
                      int worker, int num_workers) {
  CpuMachine m(context, Kind::kCombine, place_of(args.experts, args.topk.k, worker, num_workers));
  protocol::combine_send(m, args, round);
}

void run_combine_receive(RankContext& context, const protocol::CombineArgs& args, int worker,
                         int num_workers) {
  CpuMachine m(context, Kind::kCombine, place_of(args.experts, args.topk.k, worker, num_workers));
  protocol::combine_receive(m, args);
}

void run_layout(RankContext& context, const protocol::LayoutArgs& args, int worker,
                int num_workers) {
  CpuMachine m(context, Kind::kDispatch, place_of(args.op, worker, num_workers));
  protocol::layout_routing(m, args);
}

void run_dispatch_rows(RankContext& context, const protocol::RowsDispatchArgs& args, int worker,
                       int num_workers) {
  CpuMachine m(context, Kind::kDispatch, place_of(args.op, worker, num_workers));
  protocol::dispatch_rows(m, args);
}

void run_combine_rows(RankContext& context, const protocol::RowsCombineArgs& args, int worker,
                      int num_workers) {
  CpuMachine m(context, Kind::kCombine, place_of(args.op, worker, num_workers));
  protocol::combine_rows(m, args);
}

}  // namespace braid::cpu
