// The cases of high throughput: one list for every backend.
#pragma once

#include <string>
#include <vector>

#include "braid/high_throughput.hpp"
#include "conformance/case.hpp"

namespace braid::conformance {

// More than two chunks of a routing, the last one partly filled.
inline constexpr int kThroughputTokens = 150;

enum class RowsAre { kBf16, kQuantized, kGivenQuantized };
enum class RowsIn { kTensors, kWorstCaseTensors, kPlace, kWorstCasePlace };

struct ThroughputCase {
  RowsAre rows = RowsAre::kBf16;
  RowsIn in = RowsIn::kTensors;
  int workers = 1;
  int expert_alignment = 1;
  int num_biases = 0;
  bool has_idx = true;
  bool int64_idx = false;
  bool has_weights = true;

  DispatchFormat format() const {
    return rows == RowsAre::kBf16 ? DispatchFormat::kBf16 : DispatchFormat::kFp8;
  }
  bool is_exact() const { return in == RowsIn::kTensors || in == RowsIn::kPlace; }
  bool is_in_place() const { return in == RowsIn::kPlace || in == RowsIn::kWorstCasePlace; }
  std::string name() const;
};

// All combinations of rows, outputs and workers; with many ranks or under a sanitizer, each pair of
// the first two once.
std::vector<ThroughputCase> throughput_cases(int num_ranks);

// The buffer that takes every case.
HighThroughputOptions throughput_options(const Topology& topology);

}  // namespace braid::conformance
