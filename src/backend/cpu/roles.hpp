// The roles as operations of a CPU stream.
#pragma once

#include "backend/cpu/rank_context.hpp"
#include "protocol/args.hpp"

namespace braid::cpu {

// Each runs one worker's part; all workers of a phase run at the same time.
void run_dispatch_send(RankContext& context, const protocol::DispatchArgs& args, int round,
                       int worker, int num_workers);
void run_dispatch_receive(RankContext& context, const protocol::DispatchArgs& args, int round,
                          int worker, int num_workers);
void run_combine_send(RankContext& context, const protocol::CombineArgs& args, int round,
                      int worker, int num_workers);
void run_combine_receive(RankContext& context, const protocol::CombineArgs& args, int worker,
                         int num_workers);

void run_layout(RankContext& context, const protocol::LayoutArgs& args, int worker,
                int num_workers);
void run_dispatch_rows(RankContext& context, const protocol::RowsDispatchArgs& args, int worker,
                       int num_workers);
void run_combine_rows(RankContext& context, const protocol::RowsCombineArgs& args, int worker,
                      int num_workers);

}  // namespace braid::cpu
