// What the host can see of an operation's input, checked before anything is sent. Each throws
// kInvalidArgument with one sentence that names the argument, the value and what is allowed.
#pragma once

#include "runtime/buffer_state.hpp"

namespace braid::runtime {

// The arguments of the roles, from checked tensors.
protocol::DispatchArgs checked_dispatch(const detail::BufferState& buffer,
                                        const DispatchInput& input, const DispatchOutput& output,
                                        const DispatchOptions& options);

protocol::CombineArgs checked_combine(const detail::HandleState& handle, const CombineInput& input,
                                      const CombineOutput& output, const CombineOptions& options);

// The region of the handle's slot, of a buffer that has them.
std::uint16_t* combine_region(const detail::HandleState& handle);

// rows_of_one_round: the rows of one combine_send.
void check_round_rows(const detail::HandleState& handle, const Tensor& rows);

}  // namespace braid::runtime
