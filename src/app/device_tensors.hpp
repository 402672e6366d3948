// Tensors in the memory of a rank's device, and their way to the host.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "braid/tensor.hpp"
#include "machine/device_backend.hpp"

namespace braid::app {

// Values that are no numbers.
inline constexpr std::byte kNoNumber{0xff};

// One allocation for all of them; sets their data.
std::shared_ptr<void> allocate(detail::DeviceBackend& device, const std::vector<Tensor*>& tensors);

std::string read(detail::DeviceBackend& device, const Tensor& tensor);
// kNoNumber throughout; nothing for an empty tensor.
void poison(detail::DeviceBackend& device, const Tensor& tensor);

}  // namespace braid::app
