// One rank of a bench of high throughput on the CPU.
#pragma once

#include <cstdint>
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
  std::vector<std::int64_t> tokens_per_expert() const;
  OperationTraffic traffic() const { return traffic_; }

 private:
  ThroughputHandle lay_out();
  void dispatch(const ThroughputHandle& handle);
  // The identity experts' outputs: each received row as BF16, weighted.
  void run_experts();

  Group& group_;
  const CommunicationOptions& options_;
  LayerShape shape_;
  std::int64_t num_tokens_;
  BenchInputs inputs_;
  HighThroughputBuffer buffer_;
  ThroughputRows rows_;
  Block output_;
  OperationTraffic traffic_;       // without the layouts'
  Stream stream_ = Stream::cpu();  // last, so that it ends before the memory that it works on
};

}  // namespace braid::app
