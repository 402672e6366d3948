// One rank of a bench of high throughput on the CPU.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "app/bench.hpp"
#include "app/bench_case.hpp"
#include "app/block.hpp"
#include "app/throughput_rows.hpp"
#include "braid/high_throughput.hpp"

namespace braid::app {

class ThroughputBenchRank {
 public:
  ThroughputBenchRank(Group& group, const BenchOptions& options, const BenchCase& bench);

  // A layout of its own, then dispatch and combine on its handle, each timed alone.
  StepTimes iterate();

  std::string output() const;
  bool output_is(const std::string& bytes) const;
  std::optional<bool> rows_as_sent() const;  // of the newest dispatch
  std::vector<std::int64_t> tokens_per_expert() const { return rows_->tokens_per_expert(); }
  OperationTraffic traffic() const { return traffic_; }

 private:
  ThroughputHandle lay_out();
  DispatchRows dispatch_input();

  Group& group_;
  const BenchOptions& options_;
  const BenchCase& bench_;
  BenchInputs inputs_;
  HighThroughputBuffer buffer_;
  std::unique_ptr<ThroughputRows> rows_;
  Block output_;
  OperationTraffic traffic_;       // without the layouts'
  Stream stream_ = Stream::cpu();  // last, so that it ends before the memory that it works on
};

}  // namespace braid::app
