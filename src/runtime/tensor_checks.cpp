#include "runtime/tensor_checks.hpp"

#include <fmt/ranges.h>

#include "base/check.hpp"
#include "machine/bad_choice.hpp"
#include "machine/device_backend.hpp"
#include "runtime/group_backend.hpp"

namespace braid::runtime {
namespace {

std::string text_of(const std::vector<std::int64_t>& shape) {
  return fmt::format("[{}]", fmt::join(shape, ", "));
}

}  // namespace

std::string text_of(const Tensor& tensor) {
  if (tensor.empty()) return "not given";
  const auto* begin = tensor.shape.data();
  return fmt::format("{} {}", to_string(tensor.dtype),
                     text_of(std::vector<std::int64_t>(begin, begin + tensor.rank)));
}

void check_tensor(const char* name, const Tensor& tensor, std::initializer_list<DType> dtypes,
                  const std::vector<std::int64_t>& shape) {
  bool fits = tensor.rank == static_cast<int>(shape.size());
  for (std::size_t axis = 0; fits && axis < shape.size(); ++axis) {
    fits = tensor.shape[axis] == shape[axis];
  }
  bool typed = false;
  std::vector<const char*> names;
  for (const DType dtype : dtypes) {
    typed = typed || tensor.dtype == dtype;
    names.push_back(to_string(dtype));
  }
  require(fits && typed, "{} is {}, but must be {} {}", name, text_of(tensor),
          fmt::join(names, " or "), text_of(shape));
  require(tensor.data != nullptr || tensor.num_elements() == 0, "{} has no data", name);
}

void check_optional(const char* name, const Tensor& tensor, DType dtype, std::int64_t length) {
  if (!tensor.empty()) check_tensor(name, tensor, {dtype}, {length});
}

void check_workers(const char* phase, int workers, const protocol::Budget& budget) {
  require(workers >= 0 && workers <= budget.most,
          "{} workers is {}, but must be 1 to {} ({}), or 0 for the default", phase, workers,
          budget.most, budget.reason);
}

layout::TopK checked_topk(const Tensor& idx, const TopKLimits& limits, Backend backend) {
  require(idx.rank == 2, "topk_idx is {}, but must be i32 or i64 [tokens, k]", text_of(idx));
  const std::int64_t k = idx.dim(1);
  require(k >= 1 && k <= limits.most,
          "topk_idx names {} experts a token, but the buffer was made for 1 to {}", k, limits.most);
  check_tensor("topk_idx", idx, {DType::kInt32, DType::kInt64}, {idx.dim(0), k});
  layout::TopK topk;
  topk.idx = idx.data;
  topk.is_int64 = idx.dtype == DType::kInt64;
  topk.num_tokens = static_cast<int>(idx.dim(0));
  topk.k = static_cast<int>(k);
  topk.num_experts = limits.num_experts;
  // In a GPU's memory they are the roles' to look at.
  if (backend != Backend::kCpu) return topk;
  for (std::int64_t token = 0; token < topk.num_tokens; ++token) {
    for (int choice = 0; choice < topk.k; ++choice) {
      const std::int64_t value = topk.value(token, choice);
      if (topk.may_be(value)) continue;
      const machine::BadChoiceRecord bad{2, choice, token, value};
      fail(ErrorCode::kInvalidArgument, "{}", machine::sentence_of(bad, topk.num_experts));
    }
  }
  return topk;
}

void check_token_count(std::int64_t tokens, int max_tokens) {
  require(tokens >= 0 && tokens <= max_tokens,
          "{} tokens are given, but the buffer was made for 0 to {}", tokens, max_tokens);
}

void check_reach(const Group& group,
                 std::initializer_list<std::pair<const char*, const Tensor*>> tensors) {
  detail::DeviceBackend& device = group.backend().device();
  if (device.kind() == Backend::kCpu) return;
  for (const auto& [name, tensor] : tensors) {
    if (tensor->data == nullptr || tensor->num_elements() == 0) continue;
    require(device.reaches(tensor->data), "{} is at {}, which is no memory that {} can reach", name,
            tensor->data, device.name());
  }
}

void check_aligned(Backend backend,
                   std::initializer_list<std::pair<const char*, const Tensor*>> tensors) {
  if (backend == Backend::kCpu) return;
  for (const auto& [name, tensor] : tensors) {
    require(reinterpret_cast<std::uintptr_t>(tensor->data) % layout::kRowAlignment == 0,
            "{} is at {}, but on the backend {} must be at a multiple of {} bytes", name,
            tensor->data, to_string(backend), layout::kRowAlignment);
  }
}

}  // namespace braid::runtime
