// The kernels of high throughput, beside what kernels.hpp declares.
#pragma once

namespace braid::cuda {

// On the current device.
void load_throughput();

}  // namespace braid::cuda
