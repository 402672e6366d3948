#include "app/device_tensors.hpp"

#include "base/math.hpp"

namespace braid::app {
namespace {

constexpr std::size_t kAlignment = 256;

}  // namespace

std::shared_ptr<void> allocate(detail::DeviceBackend& device, const std::vector<Tensor*>& tensors) {
  std::size_t bytes = 0;
  for (const Tensor* tensor : tensors) bytes += round_up(tensor->num_bytes(), kAlignment);
  std::shared_ptr<void> memory = device.allocate(bytes);
  auto* at = static_cast<std::byte*>(memory.get());
  for (Tensor* tensor : tensors) {
    tensor->data = at;
    at += round_up(tensor->num_bytes(), kAlignment);
  }
  return memory;
}

std::string read(detail::DeviceBackend& device, const Tensor& tensor) {
  std::string bytes(tensor.num_bytes(), '\0');
  device.copy_out(bytes.data(), tensor.data, bytes.size());
  return bytes;
}

void poison(detail::DeviceBackend& device, const Tensor& tensor) {
  if (!tensor.empty()) device.fill(tensor.data, kNoNumber, tensor.num_bytes());
}

}  // namespace braid::app
