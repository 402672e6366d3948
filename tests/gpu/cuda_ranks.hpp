// Groups of ranks on GPUs, for conformance.
#pragma once

#include <gtest/gtest.h>

#include "conformance/suites.hpp"

namespace braid::conformance {

enum class Spread { kOneDevice, kAllDevices };

inline Ranks cuda_ranks(int num_ranks, Spread spread = Spread::kOneDevice,
                        std::int64_t timeout_ms = 10000) {
  Ranks ranks;
  ranks.topology = {num_ranks, num_ranks};
  ranks.options.backend = Backend::kCuda;
  ranks.options.timeout_ms = timeout_ms;
  // By default rank r is on device r modulo their number.
  if (spread == Spread::kOneDevice) {
    ranks.options.devices.assign(static_cast<std::size_t>(num_ranks), 0);
  }
  return ranks;
}

inline void expect_no_failure(const Failures& failures) {
  for (std::size_t rank = 0; rank < failures.size(); ++rank) {
    EXPECT_EQ(failures[rank], "") << "rank " << rank;
  }
}

}  // namespace braid::conformance
