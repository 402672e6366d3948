// Rows by expert, one expert's behind another's and padded: the experts take them as they are, and
// combine weights and sums their outputs.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "app/block.hpp"
#include "app/throughput_rows.hpp"

namespace braid::app {

class ExpertRows final : public ThroughputRows {
 public:
  ExpertRows(const CommunicationOptions& options, const LayerShape& shape);

  void make_room(const ReceivedCounts& counts) override;
  void dispatch(const ThroughputCall& call, const DispatchRows& input) override;
  void run_identities() override;
  void run(const ExpertFfn& experts) override;
  void combine(const ThroughputCall& call, const Tensor& output) override;
  std::vector<std::int64_t> tokens_per_expert() const override;
  std::string received() const override;

 private:
  std::int64_t num_rows() const { return x_.tensor().dim(0); }
  const std::int32_t* experts() const { return row_experts_.as<const std::int32_t>(); }

  const CommunicationOptions& options_;
  LayerShape shape_;
  std::vector<std::int64_t> first_rows_;  // of each local expert
  Block x_, scales_, row_experts_, weights_, outputs_;
};

}  // namespace braid::app
