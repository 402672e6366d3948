// A rank's experts on the CPU as operations of a schedule: up GEMM, activation, down GEMM of the
// experts of a round, and the shared expert.
#pragma once

#include "braid/moe.hpp"
#include "expert/expert.hpp"

namespace braid::app {

struct CpuExperts {
  const ExpertFfn* experts = nullptr;  // the rank's local ones
  const ExpertFfn* shared = nullptr;   // null: the layer has none, and the operation does nothing
  DispatchFormat format = DispatchFormat::kFp8;
  ScaleLayout scale_layout = ScaleLayout::kRowMajor;
};

// Values in the State, beside those of moe.hpp: "experts r/G", from up GEMM to down GEMM of a
// round; "shared_memory", a Tensor [n, H] f32 from ExecutorOptions::prepare.
void bind_cpu_experts(Bindings& bindings, const CpuExperts& experts);

}  // namespace braid::app
