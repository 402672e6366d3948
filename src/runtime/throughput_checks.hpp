// What the host can see of the input of high throughput, checked before anything is sent: options,
// tensors, budgets. Each throws kInvalidArgument with one sentence that names the argument, the
// value and what is allowed.
#pragma once

#include "runtime/throughput_state.hpp"

namespace braid::runtime {

layout::ThroughputShape checked_shape(const Topology& topology,
                                      const HighThroughputOptions& options);
MemoryPlan plan_of(const layout::ThroughputMap& map, const layout::ThroughputLocalMap& local_map);

// The arguments of the roles, from checked tensors.
protocol::LayoutArgs checked_layout(const detail::ThroughputState& buffer, const Tensor& topk_idx,
                                    const LayoutOptions& options);

// in_place: rows stay where they arrive.
enum class RowsTo { kTensors, kInPlace };
struct DispatchCall {
  const DispatchRows& input;
  const DispatchedRows& output;
  const DispatchRowsOptions& options;
  RowsTo rows_to = RowsTo::kTensors;
};
protocol::RowsDispatchArgs checked_dispatch(const detail::ThroughputHandleState& handle,
                                            const DispatchCall& call);

protocol::RowsDispatchArgs checked_dispatch(const detail::ThroughputHandleState& handle,
                                            const DispatchRows& input, const ExpandedRows& output,
                                            const DispatchRowsOptions& options);

protocol::RowsCombineArgs checked_combine(const detail::ThroughputHandleState& handle,
                                          const CombineExpanded& input, const CombinedRows& output,
                                          const CombineRowsOptions& options);
protocol::RowsCombineArgs checked_combine(const detail::ThroughputHandleState& handle,
                                          const CombineRows& input, const CombinedRows& output,
                                          const CombineRowsOptions& options);

}  // namespace braid::runtime
