// What the host can see of a tensor or a budget, for every kind of buffer. Each throws
// kInvalidArgument with one sentence that names the argument, the value and what is allowed.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>
#include <utility>
#include <vector>

#include "braid/group.hpp"
#include "braid/tensor.hpp"
#include "layout/routes.hpp"
#include "protocol/engine.hpp"

namespace braid::runtime {

std::string text_of(const Tensor& tensor);  // "bf16 [3, 128]"

void check_tensor(const char* name, const Tensor& tensor, std::initializer_list<DType> dtypes,
                  const std::vector<std::int64_t>& shape);
void check_optional(const char* name, const Tensor& tensor, DType dtype, std::int64_t length);
void check_workers(const char* phase, int workers, const protocol::Budget& budget);

struct TopKLimits {
  int num_experts = 0;
  int most = 0;  // choices a token
};
// On the CPU every value was looked at.
layout::TopK checked_topk(const Tensor& idx, const TopKLimits& limits, Backend backend);
void check_token_count(std::int64_t tokens, int max_tokens);

// Of an operation's tensors that have elements: memory that it can use.
void check_reach(const Group& group,
                 std::initializer_list<std::pair<const char*, const Tensor*>> tensors);
// Of rows that a GPU moves by bulk copies: memory at a multiple of 16 bytes there.
void check_aligned(Backend backend,
                   std::initializer_list<std::pair<const char*, const Tensor*>> tensors);

}  // namespace braid::runtime
