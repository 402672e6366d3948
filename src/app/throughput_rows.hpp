// The rows that one rank receives in high throughput, and what goes home for them: the sum of their
// experts' outputs, weighted, which is the caller's part of that mode.
#pragma once

#include <cstdint>
#include <vector>

#include "app/block.hpp"
#include "app/options.hpp"
#include "braid/high_throughput.hpp"
#include "codec/rows.hpp"

namespace braid::app {

class ThroughputRows {
 public:
  ThroughputRows() = default;
  ThroughputRows(const CommunicationOptions& options, const LayerShape& shape,
                 std::int64_t num_rows);

  DispatchedRows output() const;
  std::int64_t num_rows() const { return x_.tensor().dim(0); }
  const std::byte* x(std::int64_t row) const { return x_.as<std::byte>() + row * data_bytes_; }
  const std::byte* scales(std::int64_t row) const {
    return data_bytes_ == 2 * hidden_ ? nullptr : scales_.as<std::byte>() + row * scale_bytes_;
  }
  // [k]: the local experts of a row's choices, -1 where one is elsewhere.
  const std::int32_t* experts(std::int64_t row) const {
    return topk_idx_.as<std::int32_t>() + row * top_k_;
  }

  // Rows that name each local expert.
  std::vector<std::int64_t> tokens_per_expert(int num_local) const;

  // sums() of each row's expert outputs, `output_of(row, expert)`, in the order of its choices.
  template <class OutputOf>
  void sum(OutputOf output_of) {
    const codec::RowKernels& kernels = codec::row_kernels();
    std::vector<const std::uint16_t*> terms;
    std::vector<float> weights;
    for (std::int64_t row = 0; row < num_rows(); ++row) {
      terms.clear();
      weights.clear();
      for (int choice = 0; choice < top_k_; ++choice) {
        const std::int32_t expert = experts(row)[choice];
        if (expert < 0) continue;
        terms.push_back(output_of(row, expert));
        weights.push_back(weights_.as<float>()[row * top_k_ + choice]);
      }
      kernels.weighted_sum_bf16(terms.data(), weights.data(), static_cast<int>(terms.size()),
                                static_cast<int>(hidden_),
                                sums_.as<std::uint16_t>() + row * hidden_);
    }
  }
  const Tensor& sums() const { return sums_.tensor(); }

 private:
  std::int64_t hidden_ = 0, data_bytes_ = 0, scale_bytes_ = 0;
  int top_k_ = 0;
  Block x_, scales_, topk_idx_, weights_, sums_;
};

}  // namespace braid::app
