// Rows by source: the experts take them gathered, and their outputs of a row are summed before it
// goes home, which is the caller's part of that form.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "app/block.hpp"
#include "app/throughput_rows.hpp"
#include "codec/rows.hpp"

namespace braid::app {

class SourceRows final : public ThroughputRows {
 public:
  SourceRows(const CommunicationOptions& options, const LayerShape& shape);

  void make_room(const ReceivedCounts& counts) override;
  void dispatch(const ThroughputCall& call, const DispatchRows& input) override;
  void run_identities() override;
  void run(const ExpertFfn& experts) override;
  void combine(const ThroughputCall& call, const Tensor& output) override;
  std::vector<std::int64_t> tokens_per_expert() const override;
  std::string received() const override;

 private:
  std::int64_t num_rows() const { return x_.tensor().dim(0); }
  const std::byte* x(std::int64_t row) const { return x_.as<std::byte>() + row * data_bytes_; }
  const std::byte* scales(std::int64_t row) const {
    return scale_bytes_ == 0 ? nullptr : scales_.as<std::byte>() + row * scale_bytes_;
  }
  // [k]: the local experts of a row's choices, -1 where one is elsewhere.
  const std::int32_t* experts_of(std::int64_t row) const {
    return topk_idx_.as<std::int32_t>() + row * shape_.top_k;
  }
  // Rows by expert, as the experts take them.
  void gather();
  // Of each row its experts' outputs, `output_of(row, expert)`, in the order of its choices.
  template <class OutputOf>
  void sum(OutputOf output_of);

  const CommunicationOptions& options_;
  LayerShape shape_;
  std::int64_t data_bytes_, scale_bytes_;
  Block x_, scales_, topk_idx_, weights_, sums_;
  // Of run().
  std::int64_t capacity_ = 1;  // places of an expert
  std::vector<std::int32_t> counts_;
  std::vector<std::byte> gathered_x_, gathered_scales_;
  std::vector<std::uint16_t> outputs_;
};

}  // namespace braid::app
